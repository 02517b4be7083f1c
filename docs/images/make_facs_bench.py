"""Draw docs/images/facs_bench.jpg: pictures of the rendered benchmark, a row per condition, the two rigs in turn.

Run `openau synth -o bench --preset facs-bench`, then `python docs/images/make_facs_bench.py bench`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from openau.datasets.manifest import read_manifest
from openau.media import read_image

CONDITIONS = ("plain", "pose", "light", "occlusion", "degraded")
COLUMNS, SIDE, MARGIN = 8, 150, 88


def main(data: Path) -> None:
    """Write the sheet."""
    rows = read_manifest(data / "manifest.parquet")
    condition = np.array(rows.column("condition").to_pylist())
    rig = np.array(rows.column("rig").to_pylist())
    images = rows.column("image").to_pylist()
    sheet = Image.new("RGB", (MARGIN + COLUMNS * SIDE, len(CONDITIONS) * SIDE), "white")
    pen = ImageDraw.Draw(sheet)
    rng = np.random.default_rng(1)
    for line, name in enumerate(CONDITIONS):
        pen.text((6, line * SIDE + SIDE // 2 - 8), name, fill="black", font=ImageFont.load_default(15))
        drawn = [rng.permutation(np.flatnonzero((condition == name) & (rig == which))) for which in ("ict", "anny")]
        for column in range(COLUMNS):
            picture = Image.fromarray(read_image(data / images[int(drawn[column % 2][column // 2])]))
            sheet.paste(picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS), (MARGIN + column * SIDE, line * SIDE))
    sheet.save(Path(__file__).with_name("facs_bench.jpg"), quality=85)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
