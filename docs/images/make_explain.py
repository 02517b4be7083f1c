"""Make `explain.jpg`: what `openau explain` shows of a model trained on renders.

    python docs/images/make_explain.py RUN FEATURES

RUN is a run's folder or a checkpoint, FEATURES the feature store it was trained on. The photograph is scikit-image's `astronaut` (NASA,
public domain).
"""

from __future__ import annotations

import io
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import skimage.data
from PIL import Image

from openau.explain import figures, grounds
from openau.explain.faces import choose
from openau.explain.links import links
from openau.explain.relevance import baseline, relevance, signed
from openau.training.features import FeatureStore
from openau.training.joined import layout_of
from openau.training.judge import load_team

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = (1, 4, 6, 9, 12, 43)
HEIGHT = 620


def main(run: Path, features: Path) -> None:
    """Write the picture."""
    team, store = load_team([run]), FeatureStore.open(features)
    model, layout = team.checkpoints[0].model, layout_of(store)
    faces = choose(team, store, 2000)
    average = baseline(model, faces)
    about = f"{len(faces.rows):,} rendered faces of {faces.people} people it has never seen"
    found = relevance(model, faces, average)
    chosen = [found.aus.index(number) for number in SHOWN]
    some = replace(found, aus=SHOWN, faces=found.faces[chosen], places=found.places[chosen])
    with tempfile.TemporaryDirectory() as folder:
        photo = Path(folder) / "astronaut.png"
        Image.fromarray(skimage.data.astronaut()).save(photo)
        ground, inputs = grounds.photo(photo, layout)
    places = signed(model, inputs, average, chosen, steps=32).places[0]
    parts = (
        figures.where(some, grounds.canonical(layout), about),
        figures.on_photo(SHOWN, places, ground, found.side, {}, "a NASA portrait"),
        figures.influence(links(model, faces), about),
    )
    pictures = [drawn(figure) for figure in parts]
    canvas = Image.new("RGB", (sum(picture.width for picture in pictures), HEIGHT), "white")
    left = 0
    for picture in pictures:
        canvas.paste(picture, (left, 0))
        left += picture.width
    canvas.save(Path(__file__).with_name("explain.jpg"), quality=82, optimize=True)


def drawn(figure: Figure) -> Image.Image:
    """A figure as a picture of the height that all have."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150, facecolor="white")
    picture = Image.open(buffer).convert("RGB")
    return picture.resize((round(picture.width * HEIGHT / picture.height), HEIGHT), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
