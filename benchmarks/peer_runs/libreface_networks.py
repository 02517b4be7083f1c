"""LibreFace's networks (package `libreface`), random weights. Run by `benchmarks/peers.py` in the torch peers' environment."""

from __future__ import annotations

from types import SimpleNamespace

from networks import Forward, Part, eager, hollow, import_torchvision, report

SETTINGS = SimpleNamespace(
    dropout=0.1, fm_distillation=False, num_labels=8, au_recognition_num_labels=12, au_detection_num_labels=12
)
"""Those of its default, `joint_au_detection_intensity_estimator`, and of its expressions, that shape the networks."""


def main() -> None:
    """Time them."""
    import_torchvision()
    hollow("libreface")
    without_downloads()
    report(
        ["libreface", "torch", "torchvision", "timm"],
        [
            Part(
                "AU occurrence and intensity: ResNet-18",
                (1, 3, 224, 224),
                action_units,
                calls=2,
                note="run once for each",
            ),
            Part("expression: RepVGG-A0", (1, 3, 224, 224), expression, needed=False),
        ],
    )


def without_downloads() -> None:
    """The constructors ask for ImageNet weights, which the trained ones replace: here nothing is fetched."""
    import timm
    import torchvision

    resnet18, create_model = torchvision.models.resnet18, timm.create_model
    torchvision.models.resnet18 = lambda weights=None: resnet18(weights=None)
    timm.create_model = lambda name, pretrained=False: create_model(name, pretrained=False)


def action_units() -> Forward:
    from libreface.AU_Recognition.models.resnet18_combine import ResNet18

    network = eager(ResNet18(SETTINGS))
    return lambda image: network(image, task_name="au_detection")


def expression() -> Forward:
    from libreface.Facial_Expression_Recognition.models.repvgg import RepVGG

    return eager(RepVGG(SETTINGS))


if __name__ == "__main__":
    main()
