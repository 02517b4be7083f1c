"""From a run to a backbone that others load by its name: weights in 16 bits, and a card."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from openau.errors import InputError, UsageError
from openau.models.backbones import BackboneFacts, load_backbone, save_backbone, write_card
from openau.training.pretrain.fit import BACKBONE
from openau.weights.backbones import BackboneCard
from openau.weights.cards import MODEL_NAME, Measure

LIMITS = (
    "Tokens of faces, to be read by a model that is trained on them; says nothing by itself. Not for identification and not for decisions "
    "about people."
)
SAID = ("licence", "origin", "trained_on", "recipe", "limits", "template")
"""What of a card may be said otherwise than the run says it."""


def export_backbone(
    run: Path, out: Path, said: Mapping[str, str], measured: Mapping[str, Measure], half: bool = True
) -> BackboneCard:
    """Write the backbone of a run, and its card beside it.

    Args:
        run: folder of a run, or its backbone.safetensors.
        out: ARCHITECTURE.TAG.safetensors.
        said: facts for the card, by the names in `SAID`; what is not said is as the run knows it.
        measured: for the card.
        half: store 16 bits of each number; reading gives 32.

    Raises:
        UsageError: the file's name is none for a card, or a fact is of another name.
        InputError: the run has no finished epoch.
        WeightsError: the backbone cannot be read.
        OutputError: the file cannot be written.
    """
    name = out.name.removesuffix(".safetensors")
    if out.suffix != ".safetensors" or not MODEL_NAME.fullmatch(name):
        raise UsageError(f"{out}: the file's name must be like vit_tiny_face.mine.safetensors")
    unknown = sorted(set(said) - set(SAID))
    if unknown:
        raise UsageError(f"a card has no {unknown[0]}; there are {', '.join(SAID)}")
    file = run / BACKBONE if run.is_dir() else run
    if run.is_dir() and not file.is_file():
        raise InputError(f"{run}: holds no {BACKBONE}; is it a run of `openau pretrain` with a finished epoch?")
    found = load_backbone(None, file)
    usual = {
        "licence": "LicenseRef-unknown",
        "origin": "not stated",
        "trained_on": "not stated",
        "recipe": "",
        "limits": LIMITS,
    }
    facts = {key: value for key, value in found.facts.items() if key in SAID} | dict(said)
    save_backbone(out, found.vit, facts, torch.float16 if half else None)
    card = {**usual, "template": "none", **facts}
    return write_card(
        out,
        BackboneFacts(
            name, card["licence"], card["origin"], card["trained_on"], card["recipe"], card["limits"], card["template"],
            measured=measured,
        ),
    )  # fmt: skip
