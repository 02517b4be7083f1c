"""A face drawn in code that shows which muscles act: one shape per AU and side, in SVG.

The picture is a schema, not an atlas: a muscle lies where it can be seen to pull, a strand is thick where its belly is, and the arrow
points where it draws the skin. The subject's left is on the right, as when one faces a person. Every shape carries `data-au` and
`data-side`, so that a page can colour it as time goes by.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from html import escape

from openau.facs import au

Point = tuple[float, float]

WIDTH, HEIGHT = 400, 470
MIDDLE = WIDTH / 2


@dataclass(frozen=True, slots=True)
class Shape:
    """A muscle on the subject's left half, as an SVG path.

    Attributes:
        path: outline.
        open: whether it is a stroke without a filling (a ring around an eye or the mouth).
        width: of that stroke.
        pull: arrow from and to, where the skin is drawn; None for rings.
    """

    path: str
    open: bool = False
    width: float = 0.0
    pull: tuple[Point, Point] | None = None


def _strand(start: Point, end: Point, belly: float, bend: float = 0.0) -> Shape:
    """A spindle from a muscle's origin (on bone) to the skin it moves; it pulls towards its origin."""
    (x0, y0), (x1, y1) = start, end
    length = math.hypot(x1 - x0, y1 - y0)
    across = (-(y1 - y0) / length, (x1 - x0) / length)
    middle = ((x0 + x1) / 2 + across[0] * bend, (y0 + y1) / 2 + across[1] * bend)
    one = (middle[0] + across[0] * belly, middle[1] + across[1] * belly)
    two = (middle[0] - across[0] * belly, middle[1] - across[1] * belly)
    path = f"M{_at(start)} Q{_at(one)} {_at(end)} Q{_at(two)} {_at(start)} Z"
    tip = (x1 + (x0 - x1) * 0.55 + across[0] * bend / 2, y1 + (y0 - y1) * 0.55 + across[1] * bend / 2)
    return Shape(path, pull=((x1 + (x0 - x1) * 0.1, y1 + (y0 - y1) * 0.1), tip))


def _relaxed(muscle: Shape) -> Shape:
    """A muscle that lets go: what it holds up sinks."""
    assert muscle.pull is not None
    return replace(muscle, pull=(muscle.pull[1], muscle.pull[0]))


def _arc(centre: Point, reach: Point, begin: float, end: float, width: float) -> Shape:
    """A part of an ellipse's line, from one angle to another, degrees clockwise from three o'clock."""
    count = max(8, round(abs(end - begin) / 8))
    points = []
    for i in range(count + 1):
        angle = math.radians(begin + (end - begin) * i / count)
        points.append((centre[0] + reach[0] * math.cos(angle), centre[1] + reach[1] * math.sin(angle)))
    return Shape("M" + " L".join(map(_at, points)), open=True, width=width)


def _band(*corners: Point, pull: tuple[Point, Point]) -> Shape:
    return Shape("M" + " L".join(map(_at, corners)) + " Z", pull=pull)


def _at(point: Point) -> str:
    return f"{point[0]:.1f} {point[1]:.1f}"


_EYE: Point = (262, 196)
_MOUTH: Point = (200, 338)
SHAPES: Mapping[int, tuple[Shape, ...]] = {
    1: (_band((207, 66), (243, 64), (240, 142), (210, 148), pull=((224, 138), (224, 92))),),
    2: (_band((248, 66), (302, 92), (309, 152), (247, 140), pull=((281, 138), (277, 96))),),
    4: (
        _strand((208, 176), (276, 152), 9),
        _band((201, 152), (209, 154), (207, 192), (201, 194), pull=((205, 156), (204, 186))),
    ),
    5: (_arc(_EYE, (34, 22), 200, 340, 6),),
    6: (_arc(_EYE, (52, 43), -28, 170, 12),),
    7: (_arc(_EYE, (41, 28), 5, 175, 6), _arc(_EYE, (41, 28), 185, 355, 5)),
    9: (_strand((213, 186), (226, 284), 8, 2),),
    10: (_strand((250, 238), (228, 318), 9),),
    11: (_strand((281, 246), (241, 324), 6),),
    12: (_strand((318, 258), (254, 334), 11),),
    13: (_strand((262, 262), (255, 331), 6),),
    14: (_strand((322, 348), (258, 340), 10),),
    15: (_strand((270, 412), (255, 343), 9),),
    16: (_strand((250, 416), (226, 358), 9),),
    17: (_strand((210, 384), (212, 424), 13),),
    18: (_strand((227, 308), (209, 322), 5), _strand((227, 370), (209, 356), 5)),
    20: (_strand((330, 326), (257, 338), 6, -3),),
    22: (_arc(_MOUTH, (66, 38), -90, 90, 7),),
    23: (_arc(_MOUTH, (57, 29), -90, 90, 6),),
    24: (_arc(_MOUTH, (50, 21), -90, 90, 5),),
    25: (_arc(_MOUTH, (30, 5), -90, 90, 5),),
    26: (_relaxed(_strand((322, 270), (303, 384), 11)),),
    27: (_strand((290, 412), (204, 447), 7, 8),),
    28: (_arc(_MOUTH, (42, 12), -90, 90, 5),),
    43: (Shape("M228 196 Q262 166 296 198 Q262 204 228 196 Z"),),
    45: (Shape("M228 196 Q262 166 296 198 Q262 204 228 196 Z"),),
}
"""What is drawn for each AU."""


def face_svg(aus: Mapping[int, tuple[float, float]], label: str = "Which muscles act") -> str:
    """The diagram.

    Args:
        aus: AU → how strongly the subject's left and right side act, 0–1 (NaN counts as 0); others are not drawn.
        label: read out by screen readers.

    Returns:
        An `<svg>` element. Colours are the classes' (`report.css`), or its own inline ones where there is no style sheet.
    """
    parts = [
        f'<svg class="face" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}" '
        f'xmlns="http://www.w3.org/2000/svg">',
        *_features(),
    ]
    # Wide muscles first, so that small ones lie on top of them.
    order = [
        n
        for n in (1, 2, 26, 6, 27, 22, 14, 12, 15, 16, 17, 10, 11, 13, 20, 9, 4, 7, 23, 24, 28, 18, 25, 5, 43, 45)
        if n in aus
    ]
    for number in order:
        parts += _au(number, *aus[number])
    parts += [
        f'<text class="side" x="52" y="{HEIGHT - 6}" text-anchor="middle">subject’s right</text>',
        f'<text class="side" x="{WIDTH - 52}" y="{HEIGHT - 6}" text-anchor="middle">subject’s left</text>',
        "</svg>",
    ]
    return "".join(parts)


def _au(number: int, left: float, right: float) -> Iterator[str]:
    unit = au(number)
    for side, value, words in (("L", left, "left"), ("R", right, "right")):
        value = 0.0 if math.isnan(value) else value
        mirror = "" if side == "L" else f' transform="translate({WIDTH} 0) scale(-1 1)"'
        yield (
            f'<g class="muscle" data-au="{number}" data-side="{side}" style="--v:{value:.3f}"{mirror}>'
            f"<title>{escape(f'{unit.column} {unit.name}, {words}: {unit.muscle}')}</title>"
        )
        for shape in SHAPES[number]:
            if shape.open:
                yield f'<path class="ring" d="{shape.path}" stroke-width="{shape.width}"/>'
            else:
                yield f'<path class="belly" d="{shape.path}"/>'
            if shape.pull:
                yield _arrow(*shape.pull)
        yield "</g>"


def _arrow(start: Point, end: Point) -> str:
    angle = math.atan2(end[1] - start[1], end[0] - start[0])
    wings = [(end[0] - 6 * math.cos(angle + a), end[1] - 6 * math.sin(angle + a)) for a in (0.5, -0.5)]
    return f'<path class="pull" d="M{_at(start)} L{_at(end)} M{_at(wings[0])} L{_at(end)} L{_at(wings[1])}"/>'


def _features() -> Iterator[str]:
    """Head, eyes, brows, nose and mouth, so that one knows where one is."""
    yield (
        '<path class="skin" d="M200 24 C300 24 350 96 346 190 C344 262 338 320 316 372 C294 420 240 458 200 458 '
        'C160 458 106 420 84 372 C62 320 56 262 54 190 C50 96 100 24 200 24 Z"/>'
    )
    for mirror in ("", f' transform="translate({WIDTH} 0) scale(-1 1)"'):
        yield (
            f'<g class="feature"{mirror}>'
            '<path d="M228 198 Q262 172 296 198 Q262 218 228 198 Z"/><circle cx="262" cy="196" r="9"/>'
            '<path d="M222 164 Q262 142 306 160"/>'
            '<path d="M211 190 Q208 240 216 272 Q232 276 230 292 Q216 300 200 298"/>'
            '<path d="M200 326 Q214 318 226 326 Q242 332 252 338 Q226 338 200 338"/>'
            '<path d="M200 362 Q234 362 252 338"/>'
            "</g>"
        )
