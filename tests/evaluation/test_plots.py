import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scored_faces import made_up
from sklearn.metrics import precision_recall_curve, roc_curve

from openau.errors import InputError, UsageError
from openau.evaluation import plots
from openau.evaluation.tables import Options, evaluate

FEW = Options(repetitions=40)
OURS = made_up(people=6)
OTHER = replace(made_up(people=6, seed=1), model="other", selection="test-selected")


def known(a: int) -> tuple[np.ndarray, np.ndarray]:
    rows = ~(np.isnan(OURS.probability[:, a]) | np.isnan(OURS.occurrence[:, a]))
    return OURS.probability[rows, a], OURS.occurrence[rows, a]


def texts(figure) -> str:
    from matplotlib.text import Text

    return "\n".join(text.get_text() for text in figure.findobj(Text))


def test_curves_are_those_of_scikit_learn() -> None:
    said, shown = known(0)
    rates, hits, _ = roc_curve(shown, said, drop_intermediate=False)
    line = plots.roc_curves([OURS]).axes[0].lines[0]
    x, y = line.get_xdata(), line.get_ydata()
    corners = set(zip(np.round(rates, 9), np.round(hits, 9), strict=True))
    assert set(zip(np.round(x, 9), np.round(y, 9), strict=True)) <= corners
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(y, x) == pytest.approx(np.trapezoid(hits, rates), abs=0.002)
    precision, recall, _ = precision_recall_curve(shown, said)
    line = plots.pr_curves([OURS]).axes[0].lines[0]
    pairs = set(zip(np.round(recall, 9), np.round(precision, 9), strict=True))
    drawn = set(zip(np.round(line.get_xdata(), 9), np.round(line.get_ydata(), 9), strict=True))
    assert len(drawn - pairs) <= 1  # where recall is 0, the first precision is drawn instead of 1


def test_bars_have_the_tables_heights() -> None:
    tables = [evaluate(OURS, FEW), evaluate(OTHER.only((1, 12)), FEW)]
    axes = plots.au_bars(tables, "auc").axes[0]
    heights = [bar.get_height() for bar in axes.containers[0]]
    assert heights == pytest.approx([*(row["auc"].value for row in tables[0].rows), tables[0].mean["auc"].value])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["AU01", "AU04", "AU12", "mean"]
    assert "other (test-selected)" in texts(axes.figure)
    assert "TEST-SELECTED" in texts(plots.au_bars(tables[1:]))
    with pytest.raises(UsageError, match="1 to 7 models, not 0"):
        plots.au_bars([])


def test_confusion_by_hand() -> None:
    coded = np.array([[1, 0, 0], [1, 0, 1], [1, np.nan, 0], [0, 0, 0], [0, 1, 0], [1, 0, 0]], np.float32)
    said = np.array(
        [[0.9, 0.9, 0.1], [0.2, 0.1, 0.9], [0.9, 0.9, 0.1], [0.1, 0.1, 0.8], [0.1, 0.9, 0.1], [np.nan] * 3], np.float32
    )
    scored = replace(OURS.take(np.arange(6)), occurrence=coded, probability=said)
    shares, faces = plots.confusion_shares(scored)
    assert faces.tolist() == [[3, 2, 2], [1, 1, 1], [0, 1, 1], [1, 1, 1]]
    assert shares[0] == pytest.approx([2 / 3, 1 / 2, 0])
    assert shares[1] == pytest.approx([0, 1, 0])
    assert shares[2] == pytest.approx([np.nan, 0, 1], nan_ok=True)
    assert shares[3] == pytest.approx([0, 0, 1])


def test_reliability_shows_the_shares() -> None:
    said, shown = known(1)
    line = plots.reliability(OURS, bins=4).axes[1].lines[1]
    for low, x, y in zip((0, 0.25, 0.5, 0.75), line.get_xdata(), line.get_ydata(), strict=True):
        inside = (said >= low) & (said < low + 0.25)
        assert (x, y) == pytest.approx((said[inside].mean(), shown[inside].mean()), rel=1e-5)


def test_timeline_shows_coding_and_breaks_at_gaps() -> None:
    rows = np.flatnonzero(OURS.clip == "S00_T1")
    coded = np.zeros((30, 1), np.float32)
    coded[5:10] = 1
    coded[20] = np.nan
    said = np.full((30, 1), 0.2, np.float32)
    said[6:12] = 0.8
    clip = replace(OURS.take(rows).only((12,)), occurrence=coded, probability=said)
    with_gap = clip.take(np.delete(np.arange(30), np.arange(14, 17)))
    axes = plots.timeline(with_gap, "S00_T1").axes[0]
    spans = [[(p.get_extents().x0, p.get_extents().x1) for p in bars.get_paths()] for bars in axes.collections]
    assert spans == [[(4.5, 9.5)], [(19.5, 20.5)], [(5.5, 11.5)]]
    line = next(line for line in axes.lines if len(line.get_xdata()) > 2)
    assert np.isnan(line.get_ydata()).sum() == 1
    with pytest.raises(InputError, match="no clip 'nowhere'"):
        plots.timeline(OURS, "nowhere")
    with pytest.raises(UsageError, match="does not judge AU02"):
        plots.timeline(OURS, "S00_T1", aus=(2,))


def test_degenerate_data_draws() -> None:
    blank = replace(OURS, occurrence=np.full_like(OURS.occurrence, np.nan))
    assert "one class only" in texts(plots.roc_curves([blank]))
    for figure in (
        plots.pr_curves([blank]),
        plots.reliability(blank),
        plots.confusion(blank),
        plots.au_bars([evaluate(blank, FEW)]),
    ):
        figure.canvas.draw()
    plots.timeline(OURS.take(np.array([0])), "S00_T1").canvas.draw()


def test_files(tmp_path: Path) -> None:
    figure = plots.roc_curves([OURS, OTHER])
    plots.save(figure, tmp_path / "a.png", dpi=100)
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == tuple((figure.get_size_inches() * 100).astype(int))
    for name in ("a.svg", "b.svg"):
        plots.save(plots.roc_curves([OURS]), tmp_path / name)
    assert (tmp_path / "a.svg").read_text().startswith("<?xml")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    with pytest.raises(UsageError, match=r"\.png or \.svg, not as \.pdf"):
        plots.save(figure, tmp_path / "a.pdf")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "a.svg", "b.svg"]


def test_nothing_global_is_imported_or_changed() -> None:
    code = (
        "import sys, openau.evaluation.plots as p; assert 'matplotlib' not in sys.modules; "
        "p.new_figure(2, 2).canvas.draw(); assert 'matplotlib.pyplot' not in sys.modules and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
