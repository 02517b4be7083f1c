"""Recipes as people write them: a name or a YAML file, single values changed on the command line, everything checked against its type."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonargparse
import yaml
from jsonargparse import ArgumentError, ArgumentParser

from openau.distill.settings import Distillation
from openau.errors import InputError, UsageError
from openau.models.au_vit import AUViTConfig
from openau.models.fantrans import FANTransConfig
from openau.training.picture_recipes import FINETUNE, PICTURE_RECIPES, AnyRecipe, Augmentation, PictureRecipe
from openau.training.recipes import RECIPES, Recipe


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of recipe.

    Attributes:
        recipe: its class. options: of the model it trains. given: fields of these that data or the recipe itself decide.
        inner: settings that are dataclasses of their own.
    """

    recipe: type[Recipe] | type[PictureRecipe]
    options: type[Any]
    given: frozenset[str]
    inner: Mapping[str, type[Any]]


_FEATURES = _Kind(
    Recipe,
    FANTransConfig,
    frozenset(
        ("aus", "intensity_aus", "sided_aus", "points", "channels", "geometry_size", "regions", "grid", "extractor", "extractor_sha256")
    ),
    {"distillation": Distillation},
)  # fmt: skip
_PICTURES = _Kind(
    PictureRecipe,
    AUViTConfig,
    frozenset(("aus", "vit", "backbone", "backbone_sha256", "method")),
    {"augmentation": Augmentation},
)

ALL_RECIPES: Mapping[str, AnyRecipe] = {**RECIPES, **PICTURE_RECIPES, FINETUNE.name: FINETUNE}
"""Every recipe by name."""


def read_recipe(name: str, changes: Sequence[str] = ()) -> AnyRecipe:
    """The recipe of this name or file, with changes.

    Args:
        name: of a recipe (`ALL_RECIPES`), or a YAML file such as the `config.yaml` of a run; what a file leaves out has its default.
        changes: `learning_rate=1e-3`, `model.dropout=0.2`, `aus=[1,2,4]`; values are YAML.

    Raises:
        InputError: the file cannot be read, or does not hold a recipe.
        UsageError: there is no such recipe, or a change names an unknown setting or gives a value of the wrong type or range.
    """
    base = _settings(ALL_RECIPES[name]) if name in ALL_RECIPES else _read_yaml(name)
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


def read_feature_recipe(name: str, changes: Sequence[str] = ()) -> Recipe:
    """`read_recipe` where a FAN-Trans is to be trained.

    Raises:
        InputError: see `read_recipe`.
        UsageError: likewise, or the recipe is of a model that looks at pixels.
    """
    recipe = read_recipe(name, changes)
    if not isinstance(recipe, Recipe):
        raise UsageError(f"{name}: is a recipe of a model that looks at pixels; use openau train auformer")
    return recipe


def read_picture_recipe(name: str, changes: Sequence[str] = ()) -> PictureRecipe:
    """`read_recipe` where a model that looks at pixels is to be trained.

    Raises:
        InputError: see `read_recipe`.
        UsageError: likewise, or the recipe is of a model that reads features.
    """
    recipe = read_recipe(name, changes)
    if not isinstance(recipe, PictureRecipe):
        raise UsageError(f"{name}: is a recipe of a model that reads features; use openau train fantrans")
    return recipe


def to_yaml(recipe: AnyRecipe) -> str:
    """The full recipe, every default written out; `read_recipe` reads it."""
    return str(yaml.safe_dump(_settings(recipe), sort_keys=False, default_flow_style=None, width=120))


def _settings(recipe: AnyRecipe) -> dict[str, Any]:
    """A recipe as plain values, the model's options complete."""
    values = dataclasses.asdict(recipe)
    values["model"] = {**_options(_PICTURES if isinstance(recipe, PictureRecipe) else _FEATURES), **recipe.model}
    # YAML knows lists and numbers as they are; Python's tuples it would have to mark.
    return {key: _plain(value) for key, value in values.items()}


def _options(kind: _Kind) -> dict[str, Any]:
    """The model's options and their defaults."""
    return {field.name: field.default for field in dataclasses.fields(kind.options) if field.name not in kind.given}


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
        raise UsageError(f"there is no recipe {name!r}; there are {', '.join(ALL_RECIPES)}, or name a YAML file")
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


def _typed(settings: Mapping[str, Any], kind_of_error: type[InputError] | type[UsageError], where: str) -> AnyRecipe:
    """Check every value against its type and build the recipe; model options that are the model's own defaults are left out."""
    if not isinstance(settings.get("model", {}), dict):
        raise kind_of_error(f"{where}: model must hold settings, such as `dropout: 0.3`")
    # Only models that look at pixels have an architecture to name.
    kind = _PICTURES if "architecture" in settings else _FEATURES
    try:
        values = _parser(kind).parse_object(dict(settings)).as_dict()
        defaults = _options(kind)
        values["model"] = {key: value for key, value in values["model"].items() if value != defaults[key]}
        for name, inner in kind.inner.items():
            values[name] = inner(**values[name])
        return kind.recipe(**values)
    except (ArgumentError, TypeError, ValueError, KeyError) as error:
        raise kind_of_error(f"{where}: {_one_line(error)}") from None


def _parser(kind: _Kind) -> ArgumentParser:
    """Knows every setting and its type, read off the dataclasses."""
    parser = jsonargparse.ArgumentParser(exit_on_error=False, allow_abbrev=False)
    parser.add_class_arguments(kind.recipe, skip={"model", *kind.inner})
    parser.add_class_arguments(kind.options, "model", skip=set(kind.given))
    for name, inner in kind.inner.items():
        parser.add_class_arguments(inner, name)
    return parser


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")
