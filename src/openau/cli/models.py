"""`openau models`: what there is, and everything about one."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from openau.cli import complain
from openau.errors import UsageError, WeightsError
from openau.facs import DATASET_AUS, au
from openau.weights import backbones, cache, store
from openau.weights.assets import ASSETS, ICT_FACEKIT
from openau.weights.backbones import BackboneCard
from openau.weights.cards import Asset, HubFile, ModelCard, Packaged, Source, Url, Wheel, WheelMember
from openau.weights.extractors import ExtractorCard, card_beside


def command(
    name: Annotated[
        str | None,
        typer.Argument(
            help="A model, an extractor, a backbone, a file of the store, or the path of an .onnx or .safetensors with its card beside it."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of a table.")] = False,
) -> None:
    """List the models, the networks they read or are built on and the files they need, or show one whole card.

    For example:

      openau models                       all, and which are here

      openau models default               AUs, training data, results, limits

      openau models my_model.onnx --json  the card of your own model

      openau models fan_small.synth       a frozen network: crop, features, accuracy

      openau models auformer_vit_base_patch16_224     what would be learned, and of how many weights
    """
    console = Console()
    if name is None:
        _list(console, as_json)
    elif name in ASSETS:
        _show_rows(console, _asset_row(ASSETS[name]), as_json)
    elif name.partition("_vit_")[1] and "." not in name:
        _show_architecture(console, name, as_json)
    elif name == ICT_FACEKIT.name:
        _show_rows(console, _ict_row(), as_json)
    else:
        card = _card(name)
        if as_json:
            typer.echo(card.to_json(), nl=False)
        elif isinstance(card, ExtractorCard):
            _show_extractor(console, card)
        elif isinstance(card, BackboneCard):
            _show_backbone(console, card)
        else:
            _show_card(console, card)


def _card(name: str) -> ModelCard | ExtractorCard | BackboneCard:
    """The card of a model, extractor or backbone, by name or file."""
    if name in store.extractor_files():
        return store.extractor(name)
    if name in store.backbone_files():
        return store.backbone(name)
    if name.lower().endswith(".safetensors"):
        found, file = store.resolve_backbone(name)
        if found is None:
            raise WeightsError(f"{name}: its card {backbones.card_beside(file).name} is not beside it")
        return found
    if not name.lower().endswith(".onnx"):
        return store.card(name)
    of_extractor = card_beside(Path(name)).is_file() and not Path(name).with_suffix(".json").is_file()
    return store.resolve_extractor(name)[0] if of_extractor else store.resolve_model(name)[0]


def _list(console: Console, as_json: bool) -> None:
    models: list[dict[str, Any]] = []
    broken: list[str] = []
    for model in store.card_files():
        try:
            models.append(_model_row(store.card(model)))
        except WeightsError as error:
            broken.append(str(error))
    extractors: list[dict[str, Any]] = []
    for extractor in store.extractor_files():
        try:
            extractors.append(_extractor_row(store.extractor(extractor)))
        except WeightsError as error:
            broken.append(str(error))
    pretrained: list[dict[str, Any]] = []
    for backbone in store.backbone_files():
        try:
            pretrained.append(_backbone_row(store.backbone(backbone)))
        except WeightsError as error:
            broken.append(str(error))
    files = [*(_asset_row(asset) for asset in ASSETS.values()), _ict_row()]
    if as_json:
        everything = {"models": models, "extractors": extractors, "backbones": pretrained, "files": files}
        typer.echo(json.dumps({**everything, "cache": str(cache.folder())}, indent=2))
    else:
        console.print(_table("Models", models, ("name", "AUs", "learned", "licence", "size", "here")))
        if extractors:
            columns = ("name", "crop", "features", "licence", "size", "from", "here")
            console.print(_table("Extractors, beside face_mesh", extractors, columns))
        if pretrained:
            console.print(_table("Backbones", pretrained, ("name", "faces", "licence", "size", "from", "here")))
        console.print(_table("Files", files, ("name", "licence", "size", "from", "here")))
        console.print(Text(f"Cache: {cache.folder()}", overflow="fold"))
    for message in broken:
        complain(message)
    if broken:
        raise typer.Exit(1)


def _show_architecture(console: Console, name: str, as_json: bool) -> None:
    """Learnable and all parameters of a model that could be trained, for BP4D's twelve AUs; nothing is allocated."""
    from openau.models.create import parameters_of

    aus = DATASET_AUS["bp4d"]
    try:
        learned, everything = parameters_of(name, aus)
    except ValueError as error:
        raise UsageError(str(error)) from None
    if as_json:
        typer.echo(json.dumps({"name": name, "AUs": len(aus), "learned": learned, "all": everything}, indent=2))
        return
    _print_pairs(
        console,
        {
            "architecture": name,
            "for": f"{len(aus)} AUs, every option at its default",
            "learned": f"{learned:,} weights, {4 * learned / 1e6:.1f} MB in a checkpoint",
            "all": f"{everything:,} weights",
        },
    )


def _model_row(card: ModelCard) -> dict[str, Any]:
    default = card.name == store.DEFAULT_MODEL
    return {
        "name": card.name, "default": default, "AUs": len(card.aus), "reads": card.extractor, "learned": dict(card.parameters) or None,
        "licence": card.licence,
        "size": card.asset.size, "from": _describe(card.asset.sources), "here": _is_here(card.asset, store.card_files()[card.name].parent),
    }  # fmt: skip


def _extractor_row(card: ExtractorCard) -> dict[str, Any]:
    return {
        "name": card.name, "crop": card.template, "features": f"{card.channels}×{card.side}×{card.side}", "licence": card.licence,
        "size": card.asset.size, "from": _describe(card.asset.sources),
        "here": _is_here(card.asset, store.extractor_files()[card.name].parent),
    }  # fmt: skip


def _backbone_row(card: BackboneCard) -> dict[str, Any]:
    return {
        "name": card.name, "network": card.network, "faces": card.template, "licence": card.licence, "size": card.asset.size,
        "from": _describe(card.asset.sources), "here": _is_here(card.asset, store.backbone_files()[card.name].parent),
    }  # fmt: skip


def _is_here(asset: Asset, beside: Path) -> bool:
    """Whether the asset of a card in this folder lies on this machine."""
    packaged = [beside / source.path for source in asset.sources if isinstance(source, Packaged)]
    return any(file.is_file() for file in packaged) or store.find(asset) is not None


def _asset_row(asset: Asset) -> dict[str, Any]:
    return {
        "name": asset.name, "licence": asset.licence, "size": asset.size, "from": _describe(asset.sources),
        "here": store.find(asset) is not None, "origin": asset.origin, "sha256": asset.sha256,
    }  # fmt: skip


def _ict_row() -> dict[str, Any]:
    place = store.find_made_here(ICT_FACEKIT)
    size = place.stat().st_size if place is not None and place.is_file() else None
    return {
        "name": ICT_FACEKIT.name, "licence": ICT_FACEKIT.licence, "size": size, "from": ICT_FACEKIT.archive.url,
        "here": size is not None, "origin": ICT_FACEKIT.origin,
    }  # fmt: skip


def _describe(sources: Iterable[Source]) -> str:
    return ", else ".join(_describe_source(source) for source in sources)


def _describe_source(source: Source) -> str:
    match source:
        case Packaged():
            return "this package"
        case WheelMember() | Wheel():
            return f"wheel {source.project} {source.version}"
        case Url():
            return source.url
        case HubFile():
            return f"hub {source.repo}@{source.revision[:12]}"


def _table(title: str, rows: list[dict[str, Any]], columns: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(
            column,
            overflow="fold",
            no_wrap=column in ("name", "reads", "learned", "crop", "faces", "size", "AUs", "here"),
        )
    for row in rows:
        table.add_row(*(Text(_cell(column, row)) for column in columns))
    return table


def _cell(column: str, row: dict[str, Any]) -> str:
    value = row[column]
    if column == "here":
        return "yes" if value else "no"
    if column == "learned":
        return "–" if value is None else f"{value['learned'] / 1e6:.1f} / {value['all'] / 1e6:.1f} M"
    if column == "size":
        return "–" if value is None else f"{value / 1e6:.1f} MB"
    return f"{value} (default)" if column == "name" and row.get("default") else str(value)


def _show_rows(console: Console, row: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(row, indent=2))
    else:
        _print_pairs(console, {key: _cell(key, row) for key in row})


def _print_pairs(console: Console, pairs: dict[str, str]) -> None:
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in pairs.items():
        table.add_row(key, Text(value))
    console.print(table)


def _show_card(console: Console, card: ModelCard) -> None:
    console.print(Text(card.name, style="bold"))
    _print_pairs(
        console,
        {
            "architecture": card.architecture,
            "input": ", ".join(f"{name} {shape}" for name, shape in card.input.items()),
            "from network": "none, it looks at the crop itself" if card.reads_pixels else card.extractor,
            "alignment": card.template,
            "normalisation": card.normalisation or "–",
            "licence": card.licence,
            "origin": card.origin,
            "trained on": card.trained_on,
            "recipe": card.recipe or "–",
            "parameters": _parameters(card),
            "file": f"{_describe(card.asset.sources)}, {card.asset.size / 1e6:.1f} MB, SHA-256 {card.asset.sha256}",
        },
    )
    console.print(Text("\nAction Units, in the order of the output", style="bold"))
    console.print(_au_table(card))
    console.print(Text("\nMeasured, with 95 % intervals", style="bold"))
    console.print(_measure_table(card) if card.measured else Text("nothing yet"))
    console.print(Text("\nLimits", style="bold"))
    console.print(Text(card.limits))


def _parameters(card: ModelCard) -> str:
    """Learned and all parameters, where the card says."""
    if not card.parameters:
        return "–"
    return f"{card.parameters['learned']:,} learned, {card.parameters['all']:,} in all"


def _show_extractor(console: Console, card: ExtractorCard) -> None:
    console.print(Text(card.name, style="bold"))
    _print_pairs(
        console,
        {
            "architecture": card.architecture,
            "alignment": f"{card.template}, {card.size} × {card.size} pixels",
            "gives": f"{card.points} landmarks, features {card.channels} × {card.side} × {card.side}",
            "licence": card.licence,
            "origin": card.origin,
            "trained on": card.trained_on,
            "recipe": card.recipe or "–",
            "file": f"{_describe(card.asset.sources)}, {card.asset.size / 1e6:.1f} MB, SHA-256 {card.asset.sha256}",
        },
    )
    console.print(Text("\nMeasured, with 95 % intervals", style="bold"))
    console.print(_measure_table(card) if card.measured else Text("nothing yet"))
    console.print(Text("\nLimits", style="bold"))
    console.print(Text(card.limits))


def _show_backbone(console: Console, card: BackboneCard) -> None:
    console.print(Text(card.name, style="bold"))
    mean, std = (" ".join(f"{number:.4g}" for number in numbers) for numbers in (card.mean, card.std))
    _print_pairs(
        console,
        {
            "network": f"{card.network}: {card.depth} blocks, {card.width} wide, {card.heads} heads, patches of {card.patch} pixels",
            "pictures": f"{card.size} × {card.size} pixels, standardised with mean {mean}, s.d. {std}",
            "faces": card.template,
            "licence": card.licence,
            "origin": card.origin,
            "trained on": card.trained_on,
            "recipe": card.recipe or "–",
            "file": f"{_describe(card.asset.sources)}, {card.asset.size / 1e6:.1f} MB, SHA-256 {card.asset.sha256}",
        },
    )
    console.print(Text("\nMeasured, with 95 % intervals", style="bold"))
    console.print(_measure_table(card) if card.measured else Text("nothing yet"))
    console.print(Text("\nLimits", style="bold"))
    console.print(Text(card.limits))


def _au_table(card: ModelCard) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("AU", "name", "muscle", "intensity 0–5", "left/right"):
        table.add_column(column, overflow="fold")
    for number in card.aus:
        unit = au(number)
        yes = ("yes" if number in card.intensity_aus else "", "yes" if number in card.sided_aus else "")
        table.add_row(unit.column, unit.name, unit.muscle, *yes)
    return table


def _measure_table(card: ModelCard | ExtractorCard | BackboneCard) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("what", "value", "interval", "n", "printed by"):
        table.add_column(column, overflow="fold")
    for what, m in card.measured.items():
        interval = f"{m.low:.4g} to {m.high:.4g}"
        table.add_row(Text(what), f"{m.value:.4g}", interval, f"{m.n:,}", Text(m.command))
    return table
