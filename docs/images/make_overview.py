"""Make `overview.jpg`: what `openau detect --overlay` draws on a photograph and on the demo's clip.

    python docs/images/make_overview.py

The photograph is scikit-image's `astronaut` (NASA, public domain).
"""

from __future__ import annotations

from pathlib import Path

import skimage.data
from PIL import Image

import openau
from openau.demo import CLIP
from openau.media import open_video
from openau.overlay import annotate

SIDE = 620
TILE = (SIDE // 2, SIDE // 2)
MOMENTS = (0.8, 2.5, 4.0, 6.9)
"""Seconds of the clip: a smile, surprise, a frown, disgust."""


def main() -> None:
    """Write the picture."""
    detector = openau.Detector()
    photo = skimage.data.astronaut()
    drawn = Image.fromarray(annotate(photo, detector.detect(photo)))
    canvas = Image.new("RGB", (SIDE + 2 * TILE[0], SIDE))
    canvas.paste(drawn.resize((SIDE, SIDE), Image.Resampling.LANCZOS), (0, 0))
    with open_video(CLIP) as frames:
        pictures = {frame.time: frame.image for frame in frames}
    for place, moment in enumerate(MOMENTS):
        time = min(pictures, key=lambda t: abs(t - moment))
        drawn = Image.fromarray(annotate(pictures[time], detector.detect(pictures[time])))
        tile = drawn.resize(TILE, Image.Resampling.LANCZOS)
        canvas.paste(tile, (SIDE + TILE[0] * (place % 2), TILE[1] * (place // 2)))
    canvas.save(Path(__file__).with_name("overview.jpg"), quality=90)


if __name__ == "__main__":
    main()
