"""A ViT small enough for tests, in a file with its card."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from openau.models.backbones import BackboneFacts, save_backbone, write_card
from openau.models.vit import ViT, ViTConfig
from openau.weights.cards import Source

CONFIG = ViTConfig(
    width=24, depth=2, heads=4, patch=8, size=32, mlp_ratio=2.0, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4)
)
FACTS = BackboneFacts(
    name="vit_mini_face.test", licence="CC0-1.0", origin="a test", trained_on="12 renders", recipe="by hand", limits="knows nothing",
    template="face224",
)  # fmt: skip


def tiny_vit(seed: int = 0) -> ViT:
    """A ViT with weights of this seed; PyTorch's generator is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ViT(CONFIG).eval()


def with_card(folder: Path, *sources: Source, vit: ViT | None = None, name: str = FACTS.name) -> Path:
    """The file of a ViT, with its card beside it, also to be had from these sources."""
    file = folder / f"{name}.safetensors"
    save_backbone(file, tiny_vit() if vit is None else vit, {"steps": "12"})
    write_card(file, replace(FACTS, name=name, sources=sources))
    return file
