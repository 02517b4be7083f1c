"""The table of a model: per AU how well it ranks, decides and measures, each with a 95 % interval."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from openau.evaluation.bootstrap import Doubles, Estimate, interval
from openau.evaluation.metrics import (
    best_f1,
    calibration_error,
    f1,
    false_alarm_rate,
    icc,
    mean_absolute_error,
    roc_auc,
)
from openau.facs import au

if TYPE_CHECKING:
    from rich.table import Table

Floating = npt.NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class AURow:
    """Results of one AU.

    Attributes:
        au: FACS number.
        known: faces with a label.
        positives: of these, faces that show it.
        auc: area under the ROC curve.
        f1: at probability 0.5.
        false_alarms: share of faces without the AU that were called.
        best_f1: what the best threshold, chosen on these very faces, would give: an upper bound.
        calibration_error: of the probabilities, against the share of positives in these faces.
    """

    au: int
    known: int
    positives: int
    auc: Estimate
    f1: Estimate
    false_alarms: Estimate
    best_f1: float
    calibration_error: float


@dataclass(frozen=True, slots=True)
class IntensityRow:
    """Results of one AU's intensity, 0–5."""

    au: int
    known: int
    icc: Estimate
    mean_absolute_error: Estimate


@dataclass(frozen=True, slots=True)
class EvaluationTable:
    """Rows, and their means over the AUs for which a number is defined.

    Attributes:
        title: what was judged on what.
        cases: faces.
        groups: people (0 if unknown).
        rows: per AU.
        mean_auc: mean over the rows, with an interval of its own; likewise `mean_f1`, `mean_false_alarms`.
        intensity: per AU with intensity.
    """

    title: str
    cases: int
    groups: int
    rows: tuple[AURow, ...]
    mean_auc: Estimate
    mean_f1: Estimate
    mean_false_alarms: Estimate
    intensity: tuple[IntensityRow, ...] = ()

    def to_json(self) -> str:
        """The table as JSON; what is not defined is null."""
        return json.dumps(_without_nan(asdict(self)), indent=1)

    def to_rich(self) -> Table:
        """The table for a terminal."""
        from rich.table import Table

        people = f", {self.groups} people" if self.groups else ""
        table = Table(title=f"{self.title} ({self.cases} faces{people})", title_justify="left")
        for name in ("AU", "name"):
            table.add_column(name)
        for name in ("positives", "of", "AUC", "F1 at 0.5", "false alarms", "best F1"):
            table.add_column(name, justify="right")
        with_intensity = {row.au: row for row in self.intensity}
        if with_intensity:
            table.add_column("ICC", justify="right")
        for row in self.rows:
            cells = [
                au(row.au).column, au(row.au).name, str(row.positives), str(row.known), _cell(row.auc), _cell(row.f1),
                _cell(row.false_alarms), _number(row.best_f1),
            ]  # fmt: skip
            if with_intensity:
                cells.append(_cell(with_intensity[row.au].icc) if row.au in with_intensity else "")
            table.add_row(*cells)
        table.add_section()
        means = (self.mean_auc, self.mean_f1, self.mean_false_alarms)
        table.add_row("mean", "", "", "", *(_cell(mean) for mean in means))
        return table


def evaluate(
    title: str,
    probability: Floating,
    occurrence: Floating,
    aus: Sequence[int],
    groups: npt.ArrayLike | None = None,
    *,
    intensity: Floating | None = None,
    intensity_labels: Floating | None = None,
    intensity_aus: Sequence[int] = (),
    repetitions: int = 200,
    seed: int = 0,
) -> EvaluationTable:
    """Judge predictions.

    Args:
        title: of the table.
        probability: (N, A) 0–1.
        occurrence: (N, A) 0, 1 or NaN.
        aus: of the columns.
        groups: (N,) whom each face belongs to; the bootstrap then draws people.
        intensity: (N, A_i) 0–5, or None.
        intensity_labels: (N, A_i) 0–5 or NaN.
        intensity_aus: of these columns.
        repetitions: bootstrap resamples.
        seed: of the bootstrap.
    """
    metrics = (roc_auc, f1, false_alarm_rate)
    orders = [np.argsort(probability[:, a], kind="stable") for a in range(len(aus))]

    def statistic(weight: Doubles) -> npt.NDArray[np.float64]:
        per_au = np.array(
            [
                [metric(probability[o, a], occurrence[o, a], weight=weight[o]) for metric in metrics]
                for a, o in enumerate(orders)
            ]
        ).reshape(-1, len(metrics))
        return np.vstack([per_au, _column_means(per_au)])

    count = len(probability)
    value, low, high = interval(statistic, count, groups, repetitions, seed)
    estimates = [
        [Estimate(*map(float, parts)) for parts in zip(*row, strict=True)] for row in zip(value, low, high, strict=True)
    ]
    rows = tuple(
        AURow(
            au=number,
            known=int((~np.isnan(occurrence[:, a])).sum()),
            positives=int((occurrence[:, a] > 0.5).sum()),
            auc=estimates[a][0],
            f1=estimates[a][1],
            false_alarms=estimates[a][2],
            best_f1=best_f1(probability[:, a], occurrence[:, a])[0],
            calibration_error=calibration_error(probability[:, a], occurrence[:, a]),
        )
        for a, number in enumerate(aus)
    )
    intensity_rows: tuple[IntensityRow, ...] = ()
    if intensity is not None and intensity_labels is not None:
        intensity_rows = _judge_intensity(intensity, intensity_labels, intensity_aus, groups, repetitions, seed)
    people = 0 if groups is None else len(np.unique(np.asarray(groups)))
    mean_auc, mean_f1, mean_false_alarms = estimates[-1]
    return EvaluationTable(title, count, people, rows, mean_auc, mean_f1, mean_false_alarms, intensity_rows)


def _judge_intensity(
    predicted: Floating, truth: Floating, aus: Sequence[int], groups: npt.ArrayLike | None, repetitions: int, seed: int
) -> tuple[IntensityRow, ...]:
    def statistic(weight: Doubles) -> npt.NDArray[np.float64]:
        columns = range(len(aus))
        return np.array(
            [[m(predicted[:, a], truth[:, a], weight=weight) for m in (icc, mean_absolute_error)] for a in columns]
        )

    value, low, high = interval(statistic, len(predicted), groups, repetitions, seed)
    return tuple(
        IntensityRow(
            number,
            int((~np.isnan(truth[:, a])).sum()),
            Estimate(float(value[a, 0]), float(low[a, 0]), float(high[a, 0])),
            Estimate(float(value[a, 1]), float(low[a, 1]), float(high[a, 1])),
        )
        for a, number in enumerate(aus)
    )


def _column_means(table: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    known = ~np.isnan(table)
    total, count = np.where(known, table, 0).sum(axis=0), known.sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"


def _cell(estimate: Estimate) -> str:
    if math.isnan(estimate.value):
        return "–"
    if math.isnan(estimate.low):
        return _number(estimate.value)
    return f"{estimate.value:.3f} [{estimate.low:.3f} {estimate.high:.3f}]"


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
