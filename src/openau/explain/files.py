"""What `openau explain` writes beside the figures.

DIR/explain.json   model, faces, definitions, and every number, matrices with the names of their rows and columns
DIR/links.csv      a row per pair of AUs: attention, keep probability, influence
DIR/where.csv      a row per AU and place: relevance, attention of an add-on over maps, and, with a photo, what speaks for or against there
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from openau.explain.links import Links
from openau.explain.relevance import Relevance
from openau.faces.extractors import Layout, UnderLandmarks
from openau.facs import au
from openau.outputs import whole_file

JSON, LINKS, WHERE = "explain.json", "links.csv", "where.csv"

_MEANING = {
    "attention": "row: AU that listens, column: AU that is heard; mean over heads and faces, after the attention drop; rows sum to 1",
    "keep": "learned probability that a link is kept, mean over heads; 1 on the diagonal by construction",
    "influence": "row i: AU that is judged, column j: AU whose token speaks; logits: cov(c_ij, z_j) / sd(z_j), c_ij the exact "
    "contribution of token j to logit i in the linear classifier, z_j AU j's logit",
    "spread": "standard deviation of c_ij over faces, logits",
    "relevance": "integrated gradients from the average face to a face, logits; mean size over faces that show the AU (where), "
    "signed for the photo (photo)",
    "limits": "relevance is not cause, and attention is not importance: both describe this model, not the face",
}  # fmt: skip

_Array = npt.NDArray[np.floating[Any]]


def write_numbers(
    folder: Path, about: Mapping[str, Any], links: Links, where: Relevance, layout: Layout, photo: _Array | None
) -> None:
    """Write the three files.

    Args:
        folder: exists.
        about: model and faces, for the JSON.
        links: between AUs.
        where: each AU looks.
        layout: of the features, which names the places.
        photo: (A, P) what speaks for and against on a photo.

    Raises:
        OutputError: a file cannot be written.
    """
    names = [au(number).column for number in links.aus]
    places = place_names(layout, where.side)
    document = {
        **about,
        "meaning": _MEANING,
        "aus": names,
        "attention": _values(links.mean_attention),
        "attention_of_blocks": _values(links.attention),
        "keep": _values(links.mean_keep),
        "keep_of_blocks": _values(links.keep),
        "keep_before_training": None if links.keep is None else links.begun_at,
        "influence": _values(links.influence),
        "spread": _values(links.spread),
        "places": places,
        "faces_that_show_it": where.faces.tolist(),
        "where": _values(where.places),
        "amounts": {
            "features": _values(where.features),
            "coordinates": _values(where.geometry),
            "elsewhere": _values(where.elsewhere),
        },
        "map_attention": _values(where.attention),
        "photo": _values(photo),
    }
    with whole_file(folder / JSON) as scratch:
        scratch.write_text(json.dumps(document, allow_nan=False) + "\n", encoding="utf-8")
    count = range(len(names))
    columns = {
        "attention": links.mean_attention, "keep": links.mean_keep, "influence": links.influence, "spread": links.spread,
    }  # fmt: skip
    _write_csv(
        folder / LINKS,
        ("listens", "heard", *columns),
        ((names[i], names[j], *(_cell(values, i, j) for values in columns.values())) for i in count for j in count),
    )
    by_place = {"relevance": where.places, "map_attention": where.attention, "photo": photo}
    _write_csv(
        folder / WHERE,
        ("au", "place", *by_place),
        (
            (names[a], place, *(_cell(values, a, p) for values in by_place.values()))
            for a in count
            for p, place in enumerate(places)
        ),
    )


def place_names(layout: Layout, side: int) -> list[str]:
    """`landmark 61` of Face Mesh, or `row 2 column 5` of the map's cells, from the top left corner."""
    if side:
        return [f"row {row} column {column}" for row in range(side) for column in range(side)]
    if not isinstance(layout.positions, UnderLandmarks):
        return [f"cell {number}" for number in range(len(layout.positions))]
    return [f"landmark {number}" for number in layout.positions.ids]


def _values(array: _Array | None) -> Any:
    """Nested lists of 6 significant digits; null where a number is not known."""
    if array is None:
        return None
    if array.ndim > 1:
        return [_values(part) for part in array]
    return [float(f"{value:.6g}") if math.isfinite(value) else None for value in array.tolist()]


def _cell(values: _Array | None, row: int, column: int) -> str:
    if values is None or not math.isfinite(values[row, column]):
        return ""
    return f"{values[row, column]:.6g}"


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    with whole_file(path) as scratch:
        scratch.write_text(text.getvalue(), encoding="utf-8")
