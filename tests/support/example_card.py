"""A small valid model card to start from."""

from __future__ import annotations

from typing import Any

from openau.weights.cards import Asset, HubFile, Measure, ModelCard, Packaged, Url, Wheel, WheelMember


def make_card(name: str = "tiny.test", **changes: Any) -> ModelCard:
    fields: dict[str, Any] = {
        "name": name, "architecture": name.split(".")[0], "aus": (1, 12, 25), "intensity_aus": (12,),
        "sided_aus": (12,), "extractor": "face_mesh", "input": {"geometry": (7,), "hypercolumns": (150, 224)},
        "template": "mesh192", "normalisation": "none",
        "asset": Asset(
            name, "ab" * 32, 123, "MIT", "us",
            (Packaged("tiny.test.onnx"), WheelMember("p", "1.0", "a/b"), Wheel("p", "1.0"),
             Url("https://example.org/é?x=1"), HubFile("o/r", "main", "f.onnx")),
        ),
        "licence": "Apache-2.0", "origin": "us", "trained_on": "12 renders", "recipe": "tiny",
        "measured": {"AUC AU12": Measure(0.1 + 0.2, 0.25, 1 / 3, 100, "openau evaluate x")},
        "limits": "Not for decisions about people – “ever”.",
    }  # fmt: skip
    return ModelCard(**{**fields, **changes})
