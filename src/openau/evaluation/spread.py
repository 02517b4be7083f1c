"""The "Beyond the Fold" view: how far a mean result moves when nothing but the split of people is drawn anew.

"Beyond the Fold" (CVPR 2026, arXiv 2604.02162) re-draws the subject split of a data set and finds that the mean F1 moves by ±0.065: more
than most published methods differ from each other. There are two ways to look at that here:

- `redraw` keeps the predictions and re-draws the parts. The model is *not* trained again, and every face keeps the prediction of the model
  that had not seen it. So this shows only what averaging over other groups of people does to the number, which is a lower bound: that a
  model trained on other people is another model is not in it.
- `spread_of` takes results of runs that were really trained on several splits (protocols `subject-kfold:K:seed`) and says how far they lie
  apart; this is the whole effect, with what the training's own randomness adds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from openau.errors import InputError
from openau.evaluation.counts import Doubles, mean_of_defined
from openau.evaluation.scored import Scored
from openau.evaluation.tables import title_of, without_nan
from openau.evaluation.tally import Groups, Options, Tally

if TYPE_CHECKING:
    from rich.table import Table

SPREAD = ("f1", "auc")


@dataclass(frozen=True, slots=True)
class Moved:
    """A mean result over several splits.

    Attributes:
        mean: over the splits.
        sd: standard deviation (n − 1); NaN for a single split.
        low, high: 2.5 and 97.5 % of the splits; with few splits these are near the smallest and the largest.
        values: of each split.
    """

    mean: float
    sd: float
    low: float
    high: float
    values: tuple[float, ...]

    @classmethod
    def of(cls, values: Doubles) -> Moved:
        """Of the splits that define it; all NaN if none does."""
        known = values[~np.isnan(values)]
        if not len(known):
            nan = float("nan")
            return cls(nan, nan, nan, nan, tuple(values.tolist()))
        low, high = np.percentile(known, (2.5, 97.5))
        sd = known.std(ddof=1) if len(known) > 1 else np.nan
        return cls(float(known.mean()), float(sd), float(low), float(high), tuple(values.tolist()))


@dataclass(frozen=True, slots=True)
class Spread:
    """How far results move from split to split.

    Attributes:
        title: what was judged.
        draws: number of splits.
        over_parts: by metric, the mean over AUs and test parts: what k-fold papers report.
        one_part: by metric, the mean over AUs in one test part alone: what a single hold-out would report.
        notes: what this shows and what not.
    """

    title: str
    draws: int
    over_parts: Mapping[str, Moved]
    one_part: Mapping[str, Moved]
    notes: tuple[str, ...]

    def to_json(self) -> str:
        """As JSON; what is not defined is null."""
        return json.dumps(without_nan(asdict(self)), indent=1)

    def to_rich(self) -> Table:
        """For a terminal."""
        from rich.table import Table
        from rich.text import Text

        table = Table(title=Text(f"{self.title}: {self.draws} splits"), title_justify="left")
        table.caption, table.caption_justify = Text("\n".join(self.notes), style="dim"), "left"
        for name in ("", "metric", "mean", "sd", "2.5 % – 97.5 %"):
            table.add_column(name, justify="left" if name in ("", "metric") else "right")
        for what, found in (("mean over the test parts", self.over_parts), ("one test part alone", self.one_part)):
            for key, moved in found.items():
                numbers = (f"{moved.mean:.3f}", f"{moved.sd:.4f}", f"{moved.low:.3f} – {moved.high:.3f}")
                table.add_row(what, title_of(key), *numbers)
        return table


def redraw(scored: Scored, parts: int = 3, draws: int = 200, seed: int = 0, options: Options | None = None) -> Spread:
    """Re-draw the parts again and again, with the same predictions.

    Args:
        scored: every person judged when in the test part.
        parts: test parts to draw; people are shared out as evenly as possible.
        draws: splits to draw.
        seed: of the draws.
        options: threshold and fate of missed faces.

    Raises:
        InputError: there are fewer people than parts.
    """
    tally = Tally(scored, options or Options())
    people = len(tally.people)
    if people < parts:
        raise InputError(f"{scored.model} on {scored.data}: {people} people cannot be shared out to {parts} test parts")
    place = np.stack([np.random.default_rng((seed, draw)).permutation(people) % parts for draw in range(draws)])
    members = (place[:, None, :] == np.arange(parts)[:, None]).reshape(draws * parts, people)
    found = tally.measure(members.astype(np.int64), SPREAD)
    by_part = {key: values.reshape(draws, parts, -1) for key, values in found.items()}
    note = (
        f"The same predictions, with {people} people shared out to {parts} test parts anew each time; nothing was trained again, so a "
        "real re-draw moves more (train with subject-kfold:K:seed and several seeds to see it)."
    )
    return Spread(
        title=f"{scored.model} · {scored.data}, parts re-drawn",
        draws=draws,
        over_parts={k: Moved.of(mean_of_defined(mean_of_defined(v, axis=1), axis=1)) for k, v in by_part.items()},
        one_part={k: Moved.of(mean_of_defined(v, axis=2).ravel()) for k, v in by_part.items()},
        notes=(*_marks([scored]), note),
    )


def spread_of(results: Sequence[Scored], options: Options | None = None) -> Spread:
    """Spread over results of really different splits (or seeds), each with its own test parts.

    Args:
        results: of the same model and data.
        options: threshold, fate of missed faces, and whether test parts are averaged or pooled.

    Raises:
        InputError: there are none, or their AUs differ.
    """
    if not results:
        raise InputError("there are no results to take the spread of")
    first = results[0]
    for other in results[1:]:
        if set(other.aus) != set(first.aus):
            raise InputError(
                f"{other.model}, {other.protocol}: its AUs differ from those of {first.model}, {first.protocol}"
            )
    means: dict[str, list[float]] = {key: [] for key in SPREAD}
    singles: dict[str, list[float]] = {key: [] for key in SPREAD}
    for scored in results:
        groups = Groups(scored, options or Options())
        whole = groups.whole()
        for key, values in groups.measure(whole, SPREAD).items():
            means[key].append(float(mean_of_defined(values[0], axis=0)))
        for tally, weights in zip(groups.tallies.values(), whole, strict=True):
            for key, values in tally.measure(weights, SPREAD).items():
                singles[key].append(float(mean_of_defined(values[0], axis=0)))
    note = "Each split was trained on its own; this includes what the training's own randomness adds."
    return Spread(
        title=f"{first.model} · {first.data}",
        draws=len(results),
        over_parts={key: Moved.of(np.array(values)) for key, values in means.items()},
        one_part={key: Moved.of(np.array(values)) for key, values in singles.items()},
        notes=(*_marks(results), note),
    )


def _marks(results: Sequence[Scored]) -> tuple[str, ...]:
    chosen = any(scored.selection == "test-selected" for scored in results)
    return ("test-selected: chosen on the very faces it is judged on.",) if chosen else ()
