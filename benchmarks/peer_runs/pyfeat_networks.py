"""Py-Feat's networks (package `py-feat`, its `Detectorv2`), random weights. Run by `benchmarks/peers.py` in their environment."""

from __future__ import annotations

import json
import sys

from networks import Forward, Part, eager, hollow, import_torchvision, report


def main() -> None:
    """Time them."""
    import_torchvision()
    for package in ("feat", "feat.face_detectors", "feat.face_detectors.Retinaface"):
        hollow(package)
    width, height = json.loads(sys.argv[1])["frame"]
    report(
        ["py-feat", "torch", "torchvision", "timm"],
        [
            Part("faces: RetinaFace, ResNet-34", (1, 3, height, width), faces, note="on the whole frame"),
            Part(
                "AUs, emotion, gaze, pose, mesh, blendshapes: ConvNeXt-V2-T, graph of AUs",
                (1, 3, 224, 224),
                multitask,
                note="without its eye windows",
            ),
            Part("identity: ArcFace, ResNet-50", (1, 3, 112, 112), identity, needed=False),
        ],
    )


def faces() -> Forward:
    from feat.face_detectors.Retinaface.Retinaface_model import RetinaFace

    return eager(RetinaFace())


def multitask() -> Forward:
    from feat.multitask.model_v2 import MEGraphAUv2, ModelV2Config

    # The settings lie in the file of weights. These are what the package says of the shipped model: 20 AUs, 7 emotions, 52
    # blendshapes, mesh in shares of the crop, heads of the third kind, no edges between AUs.
    settings = ModelV2Config(
        pretrained=False, n_au=20, n_emotion=7, n_blendshape=52, mesh_normalized=True,
        use_head_v3=True, drop_mefl=True, emotion_use_au_prob=True,
    )  # fmt: skip
    return eager(MEGraphAUv2(settings))


def identity() -> Forward:
    hollow("feat.identity_detectors.arcface")
    from feat.identity_detectors.arcface.arcface_model import ArcFace

    return eager(ArcFace())


if __name__ == "__main__":
    main()
