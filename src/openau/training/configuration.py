"""Recipes as people write them: a name or a YAML file, single values changed on the command line, everything checked against its type."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jsonargparse
import yaml
from jsonargparse import ArgumentError, ArgumentParser

from openau.distill.settings import Distillation
from openau.errors import InputError, UsageError
from openau.models.fantrans import FANTransConfig
from openau.training.recipes import RECIPES, Recipe

_FROM_DATA = {
    "aus", "intensity_aus", "sided_aus", "points", "channels", "geometry_size", "regions", "grid", "extractor", "extractor_sha256",
}  # fmt: skip
"""Fields of the model's configuration that the data decides."""


def read_recipe(name: str, changes: Sequence[str] = ()) -> Recipe:
    """The recipe of this name or file, with changes.

    Args:
        name: of a recipe (`RECIPES`), or a YAML file such as the `config.yaml` of a run; what a file leaves out has its default.
        changes: `learning_rate=1e-3`, `model.dropout=0.2`, `aus=[1,2,4]`; values are YAML.

    Raises:
        InputError: the file cannot be read, or does not hold a recipe.
        UsageError: there is no such recipe, or a change names an unknown setting or gives a value of the wrong type or range.
    """
    base = _settings(RECIPES[name]) if name in RECIPES else _read_yaml(name)
    recipe = _typed(base, InputError, name)
    if not changes:
        return recipe
    changed = _settings(recipe)
    for change in changes:
        key, equals, text = change.partition("=")
        if not equals:
            raise UsageError(f"--set {change}: is no change of a setting; write NAME=VALUE, for example epochs=5")
        try:
            _put(changed, key, yaml.safe_load(text))
        except yaml.YAMLError:
            raise UsageError(f"--set {change}: the value cannot be read") from None
        # Each change by itself, so that the sentence names the one that is wrong.
        recipe = _typed(changed, UsageError, f"--set {change}")
    return recipe


def to_yaml(recipe: Recipe) -> str:
    """The full recipe, every default written out; `read_recipe` reads it."""
    return str(yaml.safe_dump(_settings(recipe), sort_keys=False, default_flow_style=None, width=120))


def _settings(recipe: Recipe) -> dict[str, Any]:
    """A recipe as plain values, the model's options complete."""
    values = dataclasses.asdict(recipe)
    defaults = {field.name: field.default for field in dataclasses.fields(FANTransConfig)}
    options = {key: value for key, value in defaults.items() if key not in _FROM_DATA}
    values["model"] = {**options, **recipe.model}
    # YAML knows lists and numbers as they are; Python's tuples it would have to mark.
    return {key: _plain(value) for key, value in values.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_plain(part) for part in value]
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    return value


def _read_yaml(name: str) -> dict[str, Any]:
    path = Path(name)
    if not path.is_file():
        if path.suffix in (".yaml", ".yml"):
            raise InputError(f"{name}: no such file")
        raise UsageError(f"there is no recipe {name!r}; there are {', '.join(RECIPES)}, or name a YAML file")
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{name}: cannot be read as YAML ({_one_line(error)})") from None
    if not isinstance(document, dict):
        raise InputError(f"{name}: holds no settings, expected lines such as `epochs: 10`")
    return document


def _put(settings: dict[str, Any], key: str, value: Any) -> None:
    *outer, last = key.split(".")
    for name in outer:
        inner = settings.setdefault(name, {})
        if not isinstance(inner, dict):
            raise UsageError(f"--set {key}: {name} has no settings of its own")
        settings = inner
    settings[last] = value


def _typed(settings: Mapping[str, Any], kind: type[InputError] | type[UsageError], where: str) -> Recipe:
    """Check every value against its type and build the recipe; model options that are the model's own defaults are left out."""
    if not isinstance(settings.get("model", {}), dict):
        raise kind(f"{where}: model must hold settings, such as `dropout: 0.3`")
    try:
        values = _parser().parse_object(dict(settings)).as_dict()
        defaults = _settings(Recipe())["model"]
        values["model"] = {key: value for key, value in values["model"].items() if value != defaults[key]}
        values["distillation"] = Distillation(**values["distillation"])
        return Recipe(**values)
    except (ArgumentError, TypeError, ValueError, KeyError) as error:
        raise kind(f"{where}: {_one_line(error)}") from None


def _parser() -> ArgumentParser:
    """Knows every setting and its type, read off the dataclasses."""
    parser = jsonargparse.ArgumentParser(exit_on_error=False, allow_abbrev=False)
    parser.add_class_arguments(Recipe, skip={"model", "distillation"})
    parser.add_class_arguments(FANTransConfig, "model", skip=_FROM_DATA)
    parser.add_class_arguments(Distillation, "distillation")
    return parser


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")
