"""Where on the face each AU looks.

Integrated gradients (Sundararajan et al. 2017) from the average face to this one. For AU a's logit z, a place p (a landmark, or a cell of
the add-on's last map) with activations h_p after the add-on and coordinates g_p in the geometry, x = (h, g), x̄ the average over the faces:

    relevance(a, p) = Σ_{k in p} (x_k − x̄_k) · ∫_0^1 ∂z/∂x_k (x̄ + t (x − x̄)) dt

in logits. It is gradient × activation, measured from the average face instead of from nothing (an activation's constant part tells nothing
about a face) and averaged along the way there, because at a face that clearly shows an AU the gradient alone has often vanished. Summed
over all places and the rest of the geometry it is z(face) − z(average face), up to the steps in which the integral is taken. A face has
signed values; over faces the mean size is taken, so that for and against do not cancel.

Relevance is not cause. It says what the model used, not what moved; neighbouring places share much of what they show, and the model may
lean on either; a column of the frozen network has seen more of the face than the point it is read at.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from openau.explain.faces import Faces, Inputs
from openau.models.fantrans import FANTrans
from openau.models.map_add_on import MapAddOn

Doubles = npt.NDArray[np.float64]

FACES_PER_AU = 100
"""Over so many faces that show an AU its relevance is averaged at most."""
STEPS = 8
"""Points at which the integral is taken (midpoint rule)."""


@dataclass(frozen=True, eq=False)
class Baseline:
    """The average face: activations (P, d) after the add-on, None where the model reads none, and geometry (G,)."""

    activation: Tensor | None
    geometry: Tensor


@dataclass(frozen=True, eq=False)
class Signed:
    """What speaks for (+) and against (−) some AUs on B faces, in logits.

    Attributes:
        places: (B, A, P) relevance of landmarks or cells.
        elsewhere: (B, A) what geometry adds that lies at no place: distances between landmarks; beside a grid, all of it.
        amounts: (3, B, A) sums of the parts' sizes: features of the places, their coordinates, geometry elsewhere.
        attention: (B, A, P) how much an AU looks at each cell, summing to 1; None unless the add-on is one over maps.
    """

    places: Doubles
    elsewhere: Doubles
    amounts: Doubles
    attention: Doubles | None


@dataclass(frozen=True, eq=False)
class Relevance:
    """Where each AU looks, on average over faces that show it.

    Attributes:
        aus: A of them.
        faces: (A,) over how many faces; where there is none, the AU's other values are NaN.
        side: cells of a row and a column, if the places are cells, P = side²; 0 = landmarks, in the store's order.
        places: (A, P) mean |relevance|, logits.
        features, geometry, elsewhere: (A,) mean of the parts' amounts (`Signed`), logits.
        attention: (A, P) mean attention of the add-on over maps; None for landmarks.
    """

    aus: tuple[int, ...]
    faces: npt.NDArray[np.int64]
    side: int
    places: Doubles
    features: Doubles
    geometry: Doubles
    elsewhere: Doubles
    attention: Doubles | None


def places_of(model: FANTrans) -> int:
    """Number P of places: cells of the add-on's last map, or landmarks."""
    return model.add_on.left**2 if isinstance(model.add_on, MapAddOn) else model.config.points


def baseline(model: FANTrans, faces: Faces) -> Baseline:
    """The average of some faces, as the model sees them."""
    geometry = torch.zeros(model.config.geometry_size, dtype=torch.float64)
    activation: Tensor | None = None
    for batch in faces.batches(model):
        geometry += batch.geometry.double().sum(dim=0)
        with _added(model, None) as seen, torch.no_grad():
            model(*batch)
        if seen:
            total = seen[0].double().sum(dim=0)
            activation = total if activation is None else activation + total
    count = len(faces.rows)
    return Baseline(None if activation is None else (activation / count).float(), (geometry / count).float())


def signed(model: FANTrans, inputs: Inputs, average: Baseline, outputs: Sequence[int], steps: int = STEPS) -> Signed:
    """Relevance on some faces for the AUs at these positions among the model's; the model is in evaluation mode."""
    with _added(model, None) as seen, torch.no_grad():
        model(*inputs)
    gone = inputs.geometry - average.geometry
    start = average.activation
    added = None if start is None else seen[0] - start
    of_geometry = torch.zeros(len(gone), len(outputs), gone.shape[1])
    of_added = torch.zeros(len(gone), len(outputs), places_of(model))
    for step in range(steps):
        share = (step + 0.5) / steps
        geometry = (average.geometry + share * gone).requires_grad_()
        leaf = None if start is None or added is None else (start + share * added).requires_grad_()
        with _added(model, leaf):
            logits = model(geometry, inputs.hypercolumns).occurrence
        wanted = [geometry] if leaf is None else [geometry, leaf]
        for place, output in enumerate(outputs):
            found = torch.autograd.grad(logits[:, output].sum(), wanted, retain_graph=True, allow_unused=True)
            if found[0] is not None:
                of_geometry[:, place] += found[0] * gone / steps
            if added is not None and found[1] is not None:
                of_added[:, place] += (found[1] * added).sum(dim=-1) / steps
    coordinates, elsewhere = torch.zeros_like(of_added), of_geometry
    if not model.config.grid:
        split = 3 * of_added.shape[-1]
        coordinates = of_geometry[..., :split].reshape(*of_added.shape, 3).sum(dim=-1)
        elsewhere = of_geometry[..., split:]
    with torch.no_grad():
        attention = model.cell_attention(inputs.hypercolumns)
    return Signed(
        places=_numbers(of_added + coordinates),
        elsewhere=_numbers(elsewhere.sum(dim=-1)),
        amounts=_numbers(torch.stack([part.abs().sum(dim=-1) for part in (of_added, coordinates, elsewhere)])),
        attention=None if attention is None else _numbers(attention.flatten(2)[:, list(outputs)]),
    )


def relevance(model: FANTrans, faces: Faces, average: Baseline) -> Relevance:
    """Mean size of the relevance over at most `FACES_PER_AU` faces that show each AU, the first ones."""
    aus = model.config.aus
    side = model.add_on.left if isinstance(model.add_on, MapAddOn) else 0
    size = places_of(model)
    sums = np.zeros((len(aus), size))
    looks = np.zeros((len(aus), size)) if side else None
    amounts = np.zeros((3, len(aus)))
    counts = np.zeros(len(aus), np.int64)
    for a in range(len(aus)):
        shown = np.flatnonzero(faces.labels[:, a] == 1)
        shown = shown[np.linspace(0, len(shown) - 1, min(len(shown), FACES_PER_AU)).astype(np.intp)]
        counts[a] = len(shown)
        for batch in faces.batches(model, shown):
            found = signed(model, batch, average, (a,))
            sums[a] += np.abs(found.places[:, 0]).sum(axis=0)
            amounts[:, a] += found.amounts[:, :, 0].sum(axis=1)
            if looks is not None and found.attention is not None:
                looks[a] += found.attention[:, 0].sum(axis=0)
    share = 1 / np.where(counts > 0, counts, np.nan)[:, None]
    features, geometry, elsewhere = amounts * share[:, 0]
    return Relevance(
        aus, counts, side, sums * share, features, geometry, elsewhere, None if looks is None else looks * share
    )


@contextmanager
def _added(model: FANTrans, instead: Tensor | None) -> Iterator[list[Tensor]]:
    """Collects the places' activations (B, P, d) after the add-on as the model runs; puts others in their stead, if given.

    The list stays empty if the model has no add-on.
    """
    seen: list[Tensor] = []

    def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        seen.append(output.detach())
        return output if instead is None else instead

    # Tokens of a map are gathered inside the add-on; its norm gives the cells they are gathered from.
    site = model.add_on.norm if isinstance(model.add_on, MapAddOn) else model.add_on
    handle = None if site is None else site.register_forward_hook(hook)
    try:
        yield seen
    finally:
        if handle is not None:
            handle.remove()


def _numbers(values: Tensor) -> Doubles:
    return values.double().numpy()
