"""The table of a model: per AU how well it ranks, decides and measures, each with a 95 % interval over people."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from openau.evaluation.bootstrap import Estimate, estimates
from openau.evaluation.counts import Doubles, mean_of_defined
from openau.evaluation.scored import Scored, Selection
from openau.evaluation.tally import INTENSITY_METRICS, METRICS, Groups, Options, Weights, people_of
from openau.facs import au

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["INTENSITY_METRICS", "METRICS", "AURow", "EvaluationTable", "Options", "evaluate"]

SHOWN = ("f1", "f1_chosen", "auc", "false_alarms", "event_f1")
"""Metrics in the terminal, unless others are asked for: all of them fit no terminal."""

TEST_SELECTED = "test-selected: the model was chosen on the very faces it is judged on, so these numbers are too good"


@dataclass(frozen=True, slots=True)
class AURow:
    """Results of one AU.

    Attributes:
        au: FACS number.
        known: faces with a label.
        positives: of these, faces that show it.
        missed: of the known, faces the model did not judge.
        results: by key of `METRICS` (or `INTENSITY_METRICS`, where positives are faces with intensity above 0).
    """

    au: int
    known: int
    positives: int
    missed: int
    results: Mapping[str, Estimate]

    def __getitem__(self, metric: str) -> Estimate:
        return self.results[metric]


@dataclass(frozen=True, slots=True)
class EvaluationTable:
    """Rows per AU, and their means over the AUs for which a metric is defined.

    Attributes:
        model, data, protocol, selection: as in `Scored`.
        cases: faces.
        people: subjects.
        over: "parts": mean over test parts of the metric within each; "pooled": over all faces at once.
        threshold: of decisions.
        rows: per AU.
        mean: over the rows, by metric, with intervals of their own.
        by_part: mean over AUs within each test part, where `over` is "parts".
        pooled: mean over AUs of the metrics over all faces at once.
        intensity, intensity_mean: likewise for intensity.
        notes: sentences for the foot.
    """

    model: str
    data: str
    protocol: str
    selection: Selection
    cases: int
    people: int
    over: str
    threshold: float
    rows: tuple[AURow, ...]
    mean: Mapping[str, Estimate]
    by_part: Mapping[str, Mapping[str, float]]
    pooled: Mapping[str, float]
    intensity: tuple[AURow, ...]
    intensity_mean: Mapping[str, Estimate]
    notes: tuple[str, ...]

    @property
    def title(self) -> str:
        """Model, data and protocol; and "test-selected" where that is so."""
        protocol = self.protocol if self.protocol != self.data else ""
        what = " · ".join(filter(None, (self.model, self.data, protocol)))
        return f"{what} · TEST-SELECTED" if self.selection == "test-selected" else what

    @property
    def size(self) -> str:
        """Faces and people, in words."""
        people = f", {self.people} {'person' if self.people == 1 else 'people'}" if self.people else ""
        return f"{self.cases:,} faces{people}"

    def defined(self, metrics: Iterable[str] = tuple(METRICS)) -> tuple[str, ...]:
        """Those metrics of occurrence that some AU has a value for."""
        return tuple(key for key in metrics if any(not math.isnan(row[key].value) for row in self.rows))

    def to_json(self) -> str:
        """The table as JSON; what is not defined is null."""
        return json.dumps(without_nan({"title": self.title, **asdict(self)}), indent=1)

    def to_rich(self, metrics: Sequence[str] = SHOWN) -> Table:
        """The table for a terminal."""
        from rich.table import Table
        from rich.text import Text

        shown = self.defined(metrics)
        graded = {row.au: row for row in self.intensity}
        caption = Text("\n".join(self.notes), style="dim")
        heading = Text(f"{self.title} ({self.size})")
        table = Table(title=heading, title_justify="left", caption=caption, caption_justify="left")
        for name in ("AU", "name"):
            table.add_column(name)
        titles = ["positives", "of", *(title_of(key, self.threshold) for key in shown)]
        for title in [*titles, *(["ICC"] if graded else [])]:
            table.add_column(title, justify="right")
        for row in self.rows:
            cells = [cell_text(row[key]) for key in shown]
            icc = [cell_text(graded[row.au]["icc"]) if row.au in graded else ""] if graded else []
            table.add_row(au(row.au).column, au(row.au).name, str(row.positives), str(row.known), *cells, *icc)
        table.add_section()
        means = [cell_text(self.mean[key]) for key in shown] + (
            [cell_text(self.intensity_mean["icc"])] if graded else []
        )
        table.add_row("mean", "", "", "", *means)
        for part, values in self.by_part.items():
            table.add_row("", part, "", "", *(_number(values[key]) for key in shown), style="dim")
        return table


def title_of(metric: str, threshold: float = 0.5) -> str:
    """Heading of a metric's column."""
    return f"F1 at {threshold:g}" if metric == "f1" else METRICS[metric].title


def evaluate(scored: Scored, options: Options | None = None) -> EvaluationTable:
    """Judge a model.

    Args:
        scored: faces with what it said and what coders say.
        options: how to judge.
    """
    options = options or Options()
    groups = Groups(scored, options)
    whole, drawn = groups.whole(), groups.resamples()
    found, mean = _with_intervals(groups.measure(whole, METRICS), groups.measure(drawn, METRICS))
    intensity: tuple[AURow, ...] = ()
    intensity_mean: Mapping[str, Estimate] = {}
    if scored.intensity_aus:
        graded, intensity_mean = _with_intervals(groups.measure_intensity(whole), groups.measure_intensity(drawn))
        intensity = _rows(scored.intensity_aus, scored.intensity, scored.intensity_labels, graded)
    pooled = {key: estimate.value for key, estimate in mean.items()}
    if groups.over == "parts":
        everything = Groups(scored, _pooled(options))
        values = everything.measure(everything.whole(), METRICS)
        pooled = {key: _mean_over_aus(value[0]) for key, value in values.items()}
    return EvaluationTable(
        model=scored.model,
        data=scored.data,
        protocol=scored.protocol,
        selection=scored.selection,
        cases=len(scored),
        people=len(np.unique(people_of(scored)[scored.subject != ""])),
        over=groups.over,
        threshold=options.threshold,
        rows=_rows(scored.aus, scored.probability, scored.occurrence, found),
        mean=mean,
        by_part=_by_part(groups, whole),
        pooled=pooled,
        intensity=intensity,
        intensity_mean=intensity_mean,
        notes=_notes(scored, options, groups, found, pooled),
    )


def _with_intervals(
    values: Mapping[str, Doubles], drawn: Mapping[str, Doubles]
) -> tuple[dict[str, list[Estimate]], dict[str, Estimate]]:
    """Estimates per AU and of their mean, by metric, from (1, A) values and (R, A) resamples."""
    per_au = {key: estimates(value[0], drawn[key]) for key, value in values.items()}
    mean = {
        key: estimates(mean_of_defined(value, axis=1), mean_of_defined(drawn[key], axis=1)[:, None])[0]
        for key, value in values.items()
    }
    return per_au, mean


def _rows(aus: Sequence[int], said: Any, coded: Any, results: Mapping[str, Sequence[Estimate]]) -> tuple[AURow, ...]:
    known = ~np.isnan(coded)
    return tuple(
        AURow(
            au=number,
            known=int(known[:, a].sum()),
            positives=int((coded[:, a] > 0.5).sum()),
            missed=int((known[:, a] & np.isnan(said[:, a])).sum()),
            results={key: found[a] for key, found in results.items()},
        )
        for a, number in enumerate(aus)
    )


def _by_part(groups: Groups, whole: Sequence[Weights]) -> dict[str, dict[str, float]]:
    if groups.over != "parts":
        return {}
    found = {part: t.measure(w, METRICS) for (part, t), w in zip(groups.tallies.items(), whole, strict=True)}
    return {part: {key: _mean_over_aus(v[0]) for key, v in values.items()} for part, values in found.items()}


def _notes(
    scored: Scored,
    options: Options,
    groups: Groups,
    found: Mapping[str, Sequence[Estimate]],
    pooled: Mapping[str, float],
) -> tuple[str, ...]:
    notes = [TEST_SELECTED] if scored.selection == "test-selected" else []
    if groups.over == "parts":
        notes.append(
            f"Each number is the mean over {len(groups.tallies)} test parts of the metric within a part; means are over AUs. "
            f"Pooled over all parts instead: F1 {_number(pooled['f1'])}, AUC {_number(pooled['auc'])}."
        )
    elif len(scored.parts) > 1:
        notes.append(f"Pooled over {len(scored.parts)} test parts; means are over AUs.")
    notes.append(_interval_note(options, groups))
    if any(not math.isnan(estimate.value) for estimate in found["f1_chosen"]):
        notes.append("Chosen thresholds: of each test part, chosen on validation people of its training part.")
    if any(not math.isnan(estimate.value) for estimate in found["event_f1"]):
        how = "intersection over union" if options.event_criterion == "iou" else "covered share"
        notes.append(f"Event F1: runs of frames, found with {how} of at least {options.event_overlap:g}.")
    notes.extend(_fate_notes(scored, options, found))
    return (*notes, *scored.notes)


def _interval_note(options: Options, groups: Groups) -> str:
    if not groups.resampleable:
        return "No intervals: they need at least two people" + (
            " in every test part." if len(groups.tallies) > 1 else "."
        )
    if not options.repetitions:
        return "No intervals: no resamples were drawn."
    within = " within each test part" if groups.over == "parts" else ""
    return f"Intervals: 95 %, {options.repetitions} bootstrap resamples of people{within}."


def _fate_notes(scored: Scored, options: Options, found: Mapping[str, Sequence[Estimate]]) -> list[str]:
    notes = []
    known = ~np.isnan(scored.occurrence)
    missed = int((known & np.isnan(scored.probability)).any(axis=1).sum())
    if missed:
        fate = "left out" if options.missed == "exclude" else 'counted as "no AU" (probability 0)'
        notes.append(f"Coded faces the model did not judge: {missed:,} of {int(known.any(axis=1).sum()):,}, {fate}.")
    lacking = [au(number).column for number in options.data_aus if number not in scored.aus]
    if lacking:
        notes.append(f"Coded in the data, not judged by this model, and no part of any mean: {', '.join(lacking)}.")
    without = [au(n).column for n, auc in zip(scored.aus, found["auc"], strict=True) if math.isnan(auc.value)]
    if without:
        notes.append(f"Not in the mean AUC, for want of faces with and without them: {', '.join(without)}.")
    return notes


def _pooled(options: Options) -> Options:
    return replace(options, over="pooled")


def _mean_over_aus(values: Doubles) -> float:
    return float(mean_of_defined(values, axis=0))


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"


def cell_text(estimate: Estimate) -> str:
    """Three decimals and the interval, if there is one."""
    if math.isnan(estimate.value):
        return "–"
    if math.isnan(estimate.low):
        return _number(estimate.value)
    return f"{estimate.value:.3f} [{estimate.low:.3f} {estimate.high:.3f}]"


def without_nan(value: Any) -> Any:
    """For JSON: what is not finite becomes None."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
