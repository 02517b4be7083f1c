"""Make `overview.png`: what `openau detect --overlay` draws on a photograph and on the demo's clip.

    python docs/images/make_overview.py

The photograph is scikit-image's `astronaut` (NASA, public domain).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image

import openau
from openau.demo import CLIP
from openau.media import open_video
from openau.overlay import annotate

HEIGHT = 560
MOMENTS = (0.8, 2.5, 4.0, 6.9)
"""Seconds of the clip: a smile, surprise, a frown, disgust."""


def main() -> None:
    """Write the picture."""
    detector = openau.Detector()
    photo = skimage.data.astronaut()
    left = Image.fromarray(annotate(photo, detector.detect(photo))).resize((HEIGHT, HEIGHT), Image.Resampling.LANCZOS)
    half = HEIGHT // 2
    canvas = Image.new("RGB", (HEIGHT + 2 * half, HEIGHT))
    canvas.paste(left, (0, 0))
    with open_video(CLIP) as frames:
        pictures = {frame.time: frame.image for frame in frames}
    for place, moment in enumerate(MOMENTS):
        time = min(pictures, key=lambda t: abs(t - moment))
        picture = np.asarray(Image.fromarray(pictures[time]).resize((2 * half, 2 * half), Image.Resampling.LANCZOS))
        drawn = Image.fromarray(annotate(picture, detector.detect(picture))).resize(
            (half, half), Image.Resampling.LANCZOS
        )
        canvas.paste(drawn, (HEIGHT + half * (place % 2), half * (place // 2)))
    canvas.save(Path(__file__).with_name("overview.png"), optimize=True)


if __name__ == "__main__":
    main()
