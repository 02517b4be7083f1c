"""Render a new version of a preset and write down what it holds, so that other copies can be compared with it.

    python benchmarks/publish_preset.py facs-bench-small FOLDER

What is written, into `src/openau/synth/files`, and how copies are compared: `openau.synth.published`. Also printed: how far the gap
between the lips keeps from the thresholds at which a label changes; if not far above single precision, another machine may label otherwise.
"""

from __future__ import annotations

import argparse
from importlib.metadata import version
from pathlib import Path

import numpy as np

from openau.cli.synth import progress
from openau.datasets.manifest import read_manifest
from openau.synth import labels, published
from openau.synth.dataset import manifest_path, render
from openau.synth.presets import preset

PROJECTS = ("numpy", "opencv-python-headless", "numba", "scipy")


def margin(folder: Path) -> float:
    """Smallest distance of a picture's gap between the lips, mm, from a threshold of the labels."""
    gaps = np.array(read_manifest(manifest_path(folder)).column("lip_gap").to_pylist())
    reach = labels.LIP_GAP_FULL - labels.LIP_GAP_ZERO
    edges = [labels.LIP_GAP_ZERO + level * reach for level in (labels.ABSENT, labels.PRESENT)]
    return float(np.abs(gaps[:, None] - edges).min())


def main() -> None:
    """Render, publish, print."""
    parser = argparse.ArgumentParser(description="Publish a preset.")
    parser.add_argument("name")
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    plan = preset(arguments.name)
    with progress() as bars:
        task = bars.add_task("rendering", total=plan.people * plan.images, rate="")
        for finished in render(plan, arguments.folder):
            bars.advance(task, finished)
    file = published.publish(plan, arguments.folder, {name: version(name) for name in PROJECTS})
    known = published.published(arguments.name)
    print(f"{file}\nparameters {published.overall(known.parameters)}\nlabels     {published.overall(known.labels)}")
    print(f"nearest lip gap to a threshold: {margin(arguments.folder):.6f} mm")


if __name__ == "__main__":
    main()
