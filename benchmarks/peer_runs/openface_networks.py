"""OpenFace 3's networks (package `openface-test`), random weights. Run by `benchmarks/peers.py` in the torch peers' environment."""

from __future__ import annotations

import json
import sys
from argparse import Namespace

from networks import Forward, Part, eager, hollow, import_torchvision, report


def main() -> None:
    """Time them."""
    import_torchvision()
    width, height = json.loads(sys.argv[1])["frame"]
    report(
        ["openface-test", "torch", "timm"],
        [
            Part("faces: RetinaFace, MobileNet 0.25", (1, 3, height, width), faces, note="on the whole frame"),
            Part("AUs, gaze and emotion: EfficientNet-B0, graph of AUs", (1, 3, 224, 224), multitask),
            Part("landmarks: STAR, four hourglasses", (1, 3, 256, 256), landmarks, needed=False),
        ],
    )


def faces() -> Forward:
    hollow("openface.Pytorch_Retinaface.data")
    from openface.Pytorch_Retinaface.data.config import cfg_mnet
    from openface.Pytorch_Retinaface.models.retinaface import RetinaFace

    # "pretrain" would read a file of weights that the package does not bring.
    return eager(RetinaFace(cfg={**cfg_mnet, "pretrain": False}, phase="test"))


def multitask() -> Forward:
    from openface.model.MTL import MTL

    return eager(MTL())


def landmarks() -> Forward:
    # What these packages import at their top is for training.
    for package in ("openface.STAR.lib", "openface.STAR.lib.dataset"):
        hollow(package)
    from openface.STAR.lib.dataset.decoder import get_decoder

    sys.modules["openface.STAR.lib.dataset"].get_decoder = get_decoder  # type: ignore[attr-defined]
    from openface.STAR.conf.alignment import Alignment
    from openface.STAR.lib.backbone.stackedHGNetV1 import StackedHGNetV1

    settings = Alignment(Namespace())
    return eager(
        StackedHGNetV1(
            config=settings,
            classes_num=settings.classes_num,
            edge_info=settings.edge_info,
            nstack=settings.nstack,
            add_coord=settings.add_coord,
            decoder_type=settings.decoder_type,
        )
    )


if __name__ == "__main__":
    main()
