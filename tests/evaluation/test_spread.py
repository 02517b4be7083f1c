import io
import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console
from scored_faces import made_up

from openau.errors import InputError
from openau.evaluation import metrics
from openau.evaluation.scored import Scored
from openau.evaluation.spread import redraw, spread_of
from openau.evaluation.tables import Options, evaluate


def mean_f1(scored: Scored, rows: np.ndarray) -> float:
    return float(
        np.mean([metrics.f1(scored.probability[rows, a], scored.occurrence[rows, a]) for a in range(len(scored.aus))])
    )


def test_all_splits_of_four_people_in_halves() -> None:
    """Three different halvings exist; every re-drawn mean is one of theirs."""
    scored = made_up(people=4, parts=1)
    of_person = [scored.subject == f"S{k:02d}" for k in range(4)]
    possible = []
    for partner in (1, 2, 3):
        half = of_person[0] | of_person[partner]
        possible.append((mean_f1(scored, half) + mean_f1(scored, ~half)) / 2)
    found = redraw(scored, parts=2, draws=60).over_parts["f1"].values
    assert {round(value, 9) for value in found} == {round(value, 9) for value in possible}


def test_what_is_spread() -> None:
    scored = made_up(people=15)
    found = redraw(scored, draws=100)
    for metric in ("f1", "auc"):
        moved = found.over_parts[metric]
        assert len(moved.values) == 100
        assert moved.sd == pytest.approx(np.std(moved.values, ddof=1))
        assert (moved.low, moved.high) == pytest.approx(tuple(np.percentile(moved.values, (2.5, 97.5))))
        assert found.one_part[metric].sd > moved.sd > 0
        assert len(found.one_part[metric].values) == 300
    assert found == redraw(scored, draws=100)
    assert found.over_parts != redraw(scored, draws=100, seed=1).over_parts
    with pytest.raises(InputError, match="2 people cannot be shared out to 3"):
        redraw(made_up(people=2))


def test_real_splits() -> None:
    results = [made_up(seed=seed) for seed in range(4)]
    found = spread_of(results)
    tables = [evaluate(scored, Options(repetitions=0)) for scored in results]
    assert found.over_parts["f1"].values == pytest.approx([table.mean["f1"].value for table in tables])
    assert found.one_part["auc"].values[:3] == pytest.approx([tables[0].by_part[f"part {k}"]["auc"] for k in (1, 2, 3)])
    assert np.isnan(spread_of(results[:1]).over_parts["f1"].sd)
    with pytest.raises(InputError, match="no results"):
        spread_of([])
    with pytest.raises(InputError, match="AUs differ"):
        spread_of([results[0], results[1].only((1, 4))])


def test_shown_and_marked() -> None:
    found = redraw(replace(made_up(), selection="test-selected"), draws=5)
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(found.to_rich())
    text = console.export_text()
    assert "nothing was trained again" in " ".join(text.split())
    assert "test-selected" in text
    assert json.loads(found.to_json())["over_parts"]["f1"]["sd"] == found.over_parts["f1"].sd
