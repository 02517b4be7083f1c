"""Where on the face each AU is looked for: bands of landmarks between two heights of the neutral face.

A network that sees the whole face learns who does what together (a smile raises the cheeks) instead of what each AU looks like. So every
AU sees its own part of the face first; that AUs go together is learned later, in the open, by the transformer over their tokens.
The bands overlap: raised cheeks push the lower lid, a wrinkled nose pulls the brows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from openau.faces.features import CANONICAL


@dataclass(frozen=True, slots=True)
class Band:
    """A horizontal band of the face and the AUs that are looked for in it.

    Attributes:
        name: of the band.
        aus: AUs whose tokens see it.
        below: Face Mesh landmark; points at its height or lower belong to the band. None = no upper limit.
        above: points higher than this landmark belong to the band. None = no lower limit.
    """

    name: str
    aus: tuple[int, ...]
    below: int | None
    above: int | None


_GLABELLA, _NOSE_ROOT, _NOSE_BRIDGE, _NOSE_TIP, _UPPER_LIP = 9, 6, 195, 1, 0

BANDS: tuple[Band, ...] = (
    Band("brow", (1, 2, 4), below=None, above=_NOSE_ROOT),
    Band("eye", (5, 6, 7, 43, 45), below=None, above=_NOSE_BRIDGE),
    Band("nose", (9, 10, 11), below=_GLABELLA, above=_UPPER_LIP),
    Band("mouth corner", (12, 13, 14, 15, 20), below=_NOSE_BRIDGE, above=None),
    Band("lips and chin", (16, 17, 18, 22, 23, 24, 25, 26, 27, 28), below=_NOSE_TIP, above=None),
)
"""Every AU OpenAU knows is in exactly one band."""


@dataclass(frozen=True, slots=True)
class Region:
    """A band as a model sees it.

    Attributes:
        name: of the band.
        aus: the model's AUs that look here.
        points: positions (not landmark ids) of the band's landmarks among the model's landmarks.
    """

    name: str
    aus: tuple[int, ...]
    points: tuple[int, ...]


def regions_of(aus: Sequence[int], landmarks: Sequence[int]) -> tuple[Region, ...]:
    """The regions a model of these AUs needs.

    Args:
        aus: FACS numbers.
        landmarks: Face Mesh id of each landmark the model reads, in its order.

    Raises:
        ValueError: an AU is in no band, or a band holds none of the landmarks.
    """
    homeless = set(aus) - {number for band in BANDS for number in band.aus}
    if homeless:
        raise ValueError(f"no band of the face is known for AU {sorted(homeless)}")
    height = -CANONICAL[:, 1]
    regions = []
    for band in BANDS:
        members = tuple(number for number in aus if number in band.aus)
        if not members:
            continue
        low = -np.inf if band.above is None else height[band.above]
        high = np.inf if band.below is None else height[band.below] + 1e-4
        inside = tuple(i for i, landmark in enumerate(landmarks) if low < height[landmark] <= high)
        if not inside:
            raise ValueError(f"none of the {len(landmarks)} landmarks lies in the {band.name} band")
        regions.append(Region(band.name, members, inside))
    return tuple(regions)
