"""A FAN with random weights: small, but exported, checked and run as any other."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import onnx
import torch

from openau.models.fan import FAN, FANConfig
from openau.training.fan.export import FANFacts, export_fan
from openau.weights.extractors import ExtractorCard, card_beside

NAME = "fan_tiny.random"
CONFIG = FANConfig(stacks=2, width=8, depth=1, stem=2)


def write_fan(folder: Path, seed: int = 0) -> Path:
    """Write `fan_tiny.random.onnx` and its card; its norms are those of coarse noise, without which its maps would be flat."""
    torch.manual_seed(seed)
    fan = FAN(CONFIG)
    for module in fan.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        fan(torch.nn.functional.interpolate(torch.rand(4, 3, 16, 16), size=256, mode="bilinear"))
    facts = FANFacts(NAME, "fan256", "nothing: the weights are random", "", "a test; it knows nothing about faces")
    return export_fan(fan.eval(), folder / f"{NAME}.onnx", facts).file


def write_another(file: Path, folder: Path) -> Path:
    """The same network under the same name, but other bytes: a retrained FAN, as far as anyone can tell."""
    graph = onnx.load(file)
    graph.producer_version = "another"
    content = graph.SerializeToString()
    card = ExtractorCard.read(card_beside(file))
    asset = dataclasses.replace(card.asset, sha256=hashlib.sha256(content).hexdigest(), size=len(content))
    made = folder / file.name
    made.write_bytes(content)
    card_beside(made).write_text(dataclasses.replace(card, asset=asset).to_json(), encoding="utf-8")
    return made
