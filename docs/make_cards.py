"""Write docs/cards.md, a page of every model card, from the cards that come with the package: `python docs/make_cards.py`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from openau.facs import au
from openau.weights import store
from openau.weights.backbones import BackboneCard
from openau.weights.cards import HubFile, Measure, ModelCard, Packaged
from openau.weights.extractors import ExtractorCard

Card = ModelCard | ExtractorCard | BackboneCard

HEAD = """# Model cards

What comes with OpenAU, or is fetched by a pinned name: what it is, what it was trained on, how good it is, and what it must not be
used for. `docs/make_cards.py` writes this page from the cards themselves; `openau models NAME` prints one, with `--json` for programs.
Intervals are 95 %.

"""


def page() -> str:
    """The whole page, Markdown."""
    models = [store.card(name) for name in _shipped(store.card_files())]
    models.sort(key=lambda card: card.name != store.DEFAULT_MODEL)
    parts = [HEAD, "## Models\n\n", *(_model(card) for card in models)]
    parts += ["## Extractors, beside Face Mesh\n\n"]
    parts += [_extractor(store.extractor(name)) for name in _shipped(store.extractor_files())]
    parts += ["## Backbones\n\n"]
    parts += [_backbone(store.backbone(name)) for name in _shipped(store.backbone_files())]
    return "".join(parts).rstrip() + "\n"


def _shipped(cards: Mapping[str, Path]) -> list[str]:
    """The names whose cards come with the package; a user's own are no business of this page."""
    return [name for name, card in cards.items() if card.parent == store.FILES]


def _model(card: ModelCard) -> str:
    facts = {
        "finds": ", ".join(au(number).column for number in card.aus),
        "intensity for": _numbers(card.intensity_aus, card.aus),
        "left and right for": _numbers(card.sided_aus, card.aus),
        "reads": "the pixels of the aligned crop" if card.reads_pixels else f"features of `{card.extractor}`",
        "crop": f"`{card.template}`",
    }
    if card.parameters:
        facts["weights"] = f"{card.parameters['learned']:,} learned, {card.parameters['all']:,} in all"
    return _card(card, f"{card.name} (default)" if card.name == store.DEFAULT_MODEL else card.name, facts)


def _extractor(card: ExtractorCard) -> str:
    facts = {
        "gives": f"{card.points} landmarks, features {card.channels} × {card.side} × {card.side}",
        "crop": f"`{card.template}`",
    }
    return _card(card, card.name, facts)


def _backbone(card: BackboneCard) -> str:
    facts = {
        "network": f"{card.network}, {card.depth} blocks, {card.width} wide, {card.size} pixels",
        "faces": card.template,
    }
    return _card(card, card.name, facts)


def _card(card: Card, title: str, facts: Mapping[str, str]) -> str:
    source = card.asset.sources[0]
    where = {Packaged: "in the package"}.get(type(source), "fetched on demand")
    if isinstance(source, HubFile):
        where = f"fetched on demand from the hub, `{source.repo}` at `{source.revision[:12]}`"
    rows = {
        **facts,
        "licence": card.licence,
        "from": card.origin,
        "trained on": card.trained_on,
        "recipe": card.recipe or "–",
        "file": f"{card.asset.size / 1e6:.1f} MB, {where}, SHA-256 `{card.asset.sha256[:16]}…`",
    }
    lines = [f"### {title}\n\n", f"**Limits.** {card.limits}\n\n", "| | |\n|---|---|\n"]
    lines += [f"| {key} | {_cell(value)} |\n" for key, value in rows.items()]
    return "".join([*lines, "\n", _measured(card.measured)])


def _measured(measured: Mapping[str, Measure]) -> str:
    """What was measured: means in the open, everything else folded away; figures of earlier versions are left to the card."""
    now = {what: measure for what, measure in measured.items() if "the version before" not in what}
    means = {what: measure for what, measure in now.items() if "mean" in what}
    rest = {what: measure for what, measure in now.items() if what not in means}
    if not means:
        means, rest = rest, {}
    text = _table(means.items()) if means else "Nothing was measured here.\n\n"
    if rest:
        text += f'<details markdown="1"><summary>Each of them ({len(rest)})</summary>\n\n{_table(rest.items())}</details>\n\n'
    return text


def _table(rows: Iterable[tuple[str, Measure]]) -> str:
    """Measures by the command that prints them."""
    by_command: dict[str, list[tuple[str, Measure]]] = {}
    for what, measure in rows:
        by_command.setdefault(measure.command, []).append((what, measure))
    text = ""
    for command, measures in by_command.items():
        text += f"Printed by `{command}`:\n\n| what | value | 95 % interval | n |\n|---|--:|--:|--:|\n"
        for what, m in measures:
            text += f"| {_cell(what)} | {m.value:.3g} | {m.low:.3g} to {m.high:.3g} | {m.n:,} |\n"
        text += "\n"
    return text


def _numbers(some: Sequence[int], everything: Sequence[int]) -> str:
    if tuple(some) == tuple(everything):
        return "all of them"
    return ", ".join(au(number).column for number in some) or "none"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    Path(__file__).with_name("cards.md").write_text(page(), encoding="utf-8")
