"""Results of single runs as small files, so that a table over models, seeds and parts can grow over days and machines.

A *run* is one model trained once (one seed) and judged on one test part. Its file holds metrics and their bootstrap resamples of people:
every run of a part draws the same people, so means over seeds and parts, and differences between models, get intervals without the faces.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from openau.errors import InputError
from openau.evaluation.bootstrap import Estimate, percentiles
from openau.evaluation.counts import Doubles, mean_of_defined
from openau.evaluation.scored import Scored
from openau.evaluation.tally import Groups, Options
from openau.outputs import whole_file

METRICS = ("f1", "f1_chosen", "auc")
"""What a run's file holds; see `openau.evaluation.tally.METRICS`."""

REPETITIONS = 200
_DIGITS = 5


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run.

    Attributes:
        data, protocol, part, model: what was run and tested.
        seed: of weights and batches.
        faces, people: tested.
        settings: everything that tells this model from others, as JSON values.
        seconds: CPU time of training and judging.
        machine: on which it ran, and the software's versions.
        values: metric → mean over AUs.
        per_au: metric → AU's number → value.
        resamples: metric → mean over AUs in each of the resamples of the part's people.
    """

    data: str
    protocol: str
    part: str
    model: str
    seed: int
    faces: int
    people: int
    settings: Mapping[str, Any]
    seconds: float
    machine: str
    values: Mapping[str, float]
    per_au: Mapping[str, Mapping[str, float | None]]
    resamples: Mapping[str, Sequence[float]]

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all.

        Raises:
            OutputError: it cannot be written.
        """
        with whole_file(path) as scratch:
            scratch.write_text(json.dumps(asdict(self), separators=(",", ":")) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> RunRecord:
        """Read what `write` wrote.

        Raises:
            InputError: the file is missing, damaged, or no run.
        """
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise InputError(f"{path}: cannot be read as the results of a run ({error})") from None


def record(
    scored: Scored, model: str, seed: int, settings: Mapping[str, Any], seconds: float, machine: str
) -> RunRecord:
    """What remains of a run.

    Args:
        scored: the faces of one test part.
        model: what to call it.
        seed: see `RunRecord`, like all that follow.
        settings: of the model.
        seconds: CPU time.
        machine: and software.

    Raises:
        ValueError: the faces are of several parts.
    """
    if len(scored.parts) != 1:
        raise ValueError(f"a run has one test part, not {len(scored.parts)}")
    # Seeded by the part: every run of a part draws the same people, runs of different parts draw independently.
    seed_of_people = zlib.crc32(scored.parts[0].encode())
    groups = Groups(scored, Options(over="pooled", repetitions=REPETITIONS, seed=seed_of_people))
    whole, drawn = groups.measure(groups.whole(), METRICS), groups.measure(groups.resamples(), METRICS)
    [tally] = groups.tallies.values()
    return RunRecord(
        data=scored.data, protocol=scored.protocol, part=scored.parts[0], model=model, seed=seed, faces=len(scored),
        people=len(tally.people), settings=settings, seconds=round(seconds, 1), machine=machine,
        values={name: float(mean_of_defined(whole[name], axis=1)[0]) for name in METRICS},
        per_au={
            name: {str(number): _number(value) for number, value in zip(scored.aus, whole[name][0], strict=True)} for name in METRICS
        },
        resamples={name: np.round(mean_of_defined(drawn[name], axis=1), _DIGITS).tolist() for name in METRICS},
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a table of runs.

    Attributes:
        estimate: mean over parts of the mean over seeds, with a 95 % interval over people (drawn within each part).
        spread: standard deviation over seeds of the mean over parts; NaN with fewer than two seeds that have all parts.
        runs: how many there are.
        parts: in which.
    """

    estimate: Estimate
    spread: float
    runs: int
    parts: tuple[str, ...]


def cell(runs: Sequence[RunRecord], metric: str) -> Cell | None:
    """What these runs of one model say; None if there are none."""
    if not runs:
        return None
    by_part = _by_part(runs)
    values = [np.mean([run.values[metric] for run in part]) for part in by_part.values()]
    drawn = np.mean([_drawn(part, metric) for part in by_part.values()], axis=0)
    seeds = sorted(set.intersection(*({run.seed for run in part} for part in by_part.values())))
    each = [np.mean([run.values[metric] for run in runs if run.seed == seed]) for seed in seeds]
    spread = float(np.std(each, ddof=1)) if len(each) > 1 else math.nan
    return Cell(_estimate(float(np.mean(values)), drawn), spread, len(runs), tuple(by_part))


def difference(runs: Sequence[RunRecord], others: Sequence[RunRecord], metric: str) -> Estimate | None:
    """Mean of `runs` less that of `others`, on the same people, over the parts that both have; None if there is none."""
    first, second = _by_part(runs), _by_part(others)
    parts = [part for part in first if part in second]
    if not parts:
        return None
    gaps = [
        np.mean([run.values[metric] for run in first[part]]) - np.mean([run.values[metric] for run in second[part]])
        for part in parts
    ]
    drawn = np.mean([_drawn(first[part], metric) - _drawn(second[part], metric) for part in parts], axis=0)
    return _estimate(float(np.mean(gaps)), drawn)


def _by_part(runs: Iterable[RunRecord]) -> dict[str, list[RunRecord]]:
    found: dict[str, list[RunRecord]] = {}
    for run in sorted(runs, key=lambda run: (run.part, run.seed)):
        found.setdefault(run.part, []).append(run)
    return found


def _drawn(runs: Sequence[RunRecord], metric: str) -> Doubles:
    """(R,) mean over the runs of one part in each resample of its people."""
    return np.asarray(np.mean([run.resamples[metric] for run in runs], axis=0))


def _estimate(value: float, drawn: Doubles) -> Estimate:
    low, high = percentiles(np.asarray(drawn)[:, None])
    return Estimate(value, float(low[0]), float(high[0]))


def _number(value: float) -> float | None:
    return None if math.isnan(value) else round(float(value), _DIGITS)
