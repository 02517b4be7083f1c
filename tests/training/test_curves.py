"""The curves of a run: what is drawn where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from openau.training.record import CURVES, METRICS, draw_curves

ALONE = "epoch,occurrence,ranking,auc,best_f1,seconds\n1,0.6,0.7,0.7,0.3,2\n2,0.5,0.6,0.8,0.4,2\n3,0.4,0.5,0.75,0.5,2\n"
TAUGHT = (
    "epoch,occurrence,taught,taught_intensity,ensemble,auc,best_f1,seconds\n"
    "1,0.6,0.06,0.2,0.5,0.7,0.3,2\n2,0.5,0.02,0.01,0.4,nan,nan,2\n"
)


def drawn(folder: Path, metrics: str, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The panels of the figure that is written."""
    kept: list[Figure] = []
    write = Figure.savefig

    def keep(figure: Figure, *arguments: Any, **named: Any) -> None:
        kept.append(figure)
        write(figure, *arguments, **named)

    monkeypatch.setattr(Figure, "savefig", keep)
    (folder / METRICS).write_text(metrics)
    draw_curves(folder)
    assert (folder / CURVES).stat().st_size > 1000
    return kept[0].axes


def labels(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_what_peers_teach_has_a_panel_and_a_scale_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses, taught, scores = drawn(tmp_path, TAUGHT, monkeypatch)
    assert labels(losses) == ["occurrence", "occurrence, the teacher"]
    assert labels(taught) == ["verdicts", "intensities"]
    assert taught.lines[0].get_ydata() == pytest.approx([0.06, 0.02])
    assert (losses.get_yscale(), taught.get_yscale()) == ("linear", "log")
    assert labels(scores)[-1] == "best AUC, epoch 1"


def test_a_model_that_learns_alone_has_two_panels_and_its_best_epoch_marked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses, scores = drawn(tmp_path, ALONE, monkeypatch)
    assert labels(losses) == ["occurrence", "ranking"]
    assert scores.lines[-1].get_xdata()[0] == 2
    assert scores.lines[0].get_ydata() == pytest.approx([0.7, 0.8, 0.75])


def test_nothing_is_drawn_before_the_first_epoch(tmp_path: Path) -> None:
    draw_curves(tmp_path)
    assert not list(tmp_path.iterdir())
