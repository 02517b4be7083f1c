"""An AUFormer small enough for tests, as a checkpoint to start from; it has learned nothing, but its experts speak."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from openau.models.backbones import save_backbone
from openau.models.create import create_model
from openau.models.vit import ViT, ViTConfig
from openau.training.checkpoint import Provenance, save_checkpoint
from openau.training.face_pictures import FacePictures
from openau.training.picture_recipes import PictureRecipe
from openau.training.picture_task import sample

NAME = "auformer_vit_tiny_patch16_48"
AUS = (4, 12, 25)
OPTIONS = {"width": 2, "pool": "mean"}


def shrink(patch: pytest.MonkeyPatch) -> None:
    """Let tiny ViTs be tinier."""
    patch.setattr("openau.models.vit.SIZES", {"tiny": (48, 2, 3)})


def make(folder: Path, faces: FacePictures, aus: tuple[int, ...] = AUS, seed: int = 0) -> Path:
    """The checkpoint's file, beside that of its backbone; the faces only tell the head what pictures look like."""
    backbone = folder / "vit.safetensors"
    torch.manual_seed(seed)
    if not backbone.exists():
        save_backbone(backbone, ViT(ViTConfig.named("vit_tiny_patch16_48")), {})
    model = create_model(NAME, aus, backbone, **OPTIONS)
    model.prepare(sample(faces, np.arange(40), 48, 0), torch.full((len(aus),), 0.3))
    with torch.no_grad():
        for name, weight in model.kept().items():
            if name.startswith(("mokes", "head.layers")):
                weight.add_(0.01 * torch.randn_like(weight))
    recipe = PictureRecipe(architecture=NAME, backbone=str(backbone), model=OPTIONS)
    file = folder / f"start{seed}.safetensors"
    save_checkpoint(file, model, Provenance(recipe, 0, 1, float("nan"), "nothing", "none", ("stranger",), ()))
    return file
