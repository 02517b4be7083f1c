import numpy as np
import pytest

from openau.evaluation.events import count_events, event_f1, find_events, order_frames


def flags(text: str) -> np.ndarray:
    return np.array([letter == "#" for letter in text])


def counts(
    coded: str, called: str, overlap: float = 0.5, criterion: str = "iou", position: np.ndarray | None = None
) -> list[float]:
    place = np.arange(len(coded)) if position is None else position
    person = np.zeros(len(coded), int)
    return count_events(flags(called), flags(coded), place, person, 1, overlap, criterion)[:, 0].tolist()


@pytest.mark.parametrize(
    ("coded", "called", "expected"),
    [
        ("..####..", "..####..", [1, 1, 1, 1]),
        ("..####..", "...###..", [1, 1, 1, 1]),  # 3 of 4
        ("..####..", "....####", [1, 0, 1, 0]),  # 2 of 6
        ("########", "###.####", [1, 1, 2, 1]),  # the longer piece matches, the other is a false alarm
        ("##.##.##", "########", [3, 0, 1, 0]),  # one call for three events matches none
        ("........", "##......", [0, 0, 1, 0]),
        ("#......#", "#......#", [2, 2, 2, 2]),
        ("........", "........", [0, 0, 0, 0]),
    ],
)
def test_by_hand(coded: str, called: str, expected: list[float]) -> None:
    assert counts(coded, called) == expected


def test_coverage_is_kinder() -> None:
    """By covered share, one call for everything finds every event, and is right as most of it is coded."""
    assert counts("##.##.##", "########", criterion="coverage") == [3, 3, 1, 1]
    assert counts("..####..", "....####", criterion="coverage") == [1, 1, 1, 1]
    assert counts("########", "###.####", criterion="coverage") == [1, 1, 2, 2]
    assert counts("####....", "########", 0.6, "coverage") == [1, 1, 1, 0]


def test_f1_of_counts() -> None:
    assert event_f1(np.array([3.0, 2, 4, 2])) == pytest.approx(2 * (2 / 3) * 0.5 / (2 / 3 + 0.5))
    assert event_f1(np.array([3.0, 0, 0, 0])) == 0
    assert event_f1(np.array([0.0, 0, 2, 0])) == 0
    assert np.isnan(event_f1(np.zeros(4)))


def test_gaps_and_clips_break_events() -> None:
    clip = np.array(["b"] * 4 + ["a"] * 5 + [""])
    frame = np.array([3, 1, 2, 9, 10, 20, 30, 50, 60, 5])
    order = order_frames(clip, frame)
    assert frame[order.rows].tolist() == [10, 20, 30, 50, 60, 1, 2, 3, 9]
    assert (np.diff(order.position) == 1).tolist() == [True, True, False, True, False, True, True, False]
    events = find_events(np.ones(9, bool), order.position)
    assert list(zip(events.start, events.stop, strict=True)) == [(0, 3), (3, 5), (5, 8), (8, 9)]
    assert len(find_events(np.zeros(0, bool), np.zeros(0, int)).start) == 0


def test_against_a_plain_count() -> None:
    """IoU above one half matches at most one event, so a double loop needs no assignment."""
    rng = np.random.default_rng(0)
    for _ in range(30):
        texts = ["".join(rng.choice(["#", "."], 60, p=[0.7, 0.3])) for _ in range(2)]
        sets = [
            [set(range(m, n)) for m, n in zip(e.start, e.stop, strict=True)]
            for e in (find_events(flags(text), np.arange(60)) for text in texts)
        ]
        found = sum(any(len(t & s) / len(t | s) > 0.5 for s in sets[1]) for t in sets[0])
        assert counts(*texts, overlap=0.5000001) == [len(sets[0]), found, len(sets[1]), found]


def test_events_belong_to_people() -> None:
    found = count_events(flags("##.#"), flags("##.#"), np.array([0, 1, 3, 4]), np.array([1, 1, 2, 2]), 3)
    assert found.T.tolist() == [[0, 0, 0, 0], [1, 1, 1, 1], [1, 1, 1, 1]]
