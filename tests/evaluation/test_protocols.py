import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openau.datasets import registry
from openau.datasets.folds import BP4D, DISFA
from openau.errors import InputError, UsageError
from openau.evaluation.protocols import Assignment, DataSetRows, LabelNoise, noisy_labels, protocol

FACTS = {
    "bp4d": """
        F001 F002 F008 F009 F010 F016 F018 F023 M001 M004 M007 M008 M012 M014
        F003 F005 F011 F013 F020 F022 M002 M005 M010 M011 M013 M016 M017 M018
        F004 F006 F007 F012 F014 F015 F017 F019 F021 M003 M006 M009 M015""",
    "disfa": """
        SN001 SN002 SN009 SN010 SN016 SN026 SN027 SN030 SN032
        SN006 SN011 SN012 SN013 SN018 SN021 SN024 SN028 SN031
        SN003 SN004 SN005 SN007 SN008 SN017 SN023 SN025 SN029""",
}
"""The published lists, typed in a second time."""

PEOPLE = {
    "bp4d": [name for part in BP4D.values() for name in part],
    "disfa": [name for part in DISFA.values() for name in part],
    "disfa+": ["SN001", "SN003", "SN004", "SN007", "SN009"],
    "casme2": [f"sub{number:02d}" for number in range(1, 8)],
    "samm": ["006", "007", "009", "010", "011"],
    "facs-bench-small": [f"{rig}-{number:05d}" for number in range(6) for rig in ("ict", "anny")],
}
NAMESPACE = {"disfa+": "disfa"}
EVERY_AU = (1, 2, 4, 6, 7, 9, 10, 12, 14, 15, 17, 23, 24, 25, 26)


def rows_of(
    name: str,
    seed: int = 0,
    frames: int = 4,
    people: Sequence[str] | None = None,
    fold: bool = True,
    known: float = 0.9,
) -> DataSetRows:
    """A random manifest: some labels unknown, some faces not found, people in random order."""
    rng = np.random.default_rng(seed)
    people = PEOPLE[name] if people is None else people
    subject = rng.permutation(np.repeat(people, frames)).tolist()
    count = len(subject)
    parts = {"bp4d": BP4D, "disfa": DISFA}.get(name, {})
    numbers = {who: number for number, members in parts.items() for who in members}
    if name.startswith("facs-bench"):
        numbers = {who: 1 + int(who[-5:]) % 3 for who in people}
    columns: dict[str, object] = {
        "image": pa.array([None if rng.random() < 0.1 else f"{i}.jpg" for i in range(count)], pa.string()),
        "subject": subject,
        "fold": pa.array([numbers.get(who) if fold else None for who in subject], pa.int64()),
        "dataset": [name] * count,
        "people": [NAMESPACE.get(name, name)] * count,
        "phase": ["apex" if i % 2 else "onset" for i in range(count)],
        "rig": [who.split("-")[0] for who in subject],
    }
    for number in EVERY_AU:
        shown = rng.integers(0, 2, count).astype(np.int8)
        columns[f"AU{number:02d}"] = pa.array(shown, mask=rng.random(count) >= known)
        columns[f"AU{number:02d}_i"] = pa.array((2.5 * shown).astype(np.float32))
        columns[f"AU{number:02d}_L"] = pa.array(shown)
    return DataSetRows.of(pa.table(columns), Path(name))


CASES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("bp4d-3fold", ("bp4d",)),
    ("disfa-3fold", ("disfa",)),
    ("cross:bp4d→disfa", ("disfa", "bp4d")),
    ("cross:disfa->bp4d", ("disfa", "bp4d")),
    ("data-efficiency:8", ("bp4d",)),
    ("data-efficiency:8:3", ("disfa",)),
    ("micro:casme2-loso", ("casme2",)),
    ("micro:samm-loso:all-frames", ("samm",)),
    ("micro:composite", ("samm", "casme2")),
    ("leave-one-dataset-out", ("disfa", "disfa+", "bp4d")),
    ("subject-kfold:3:5", ("disfa", "disfa+")),
    ("subject-kfold:4", ("casme2",)),
    ("facs-bench-3fold", ("facs-bench-small",)),
    ("facs-bench-cross-rig", ("facs-bench-small",)),
    ("facs-bench-data-efficiency:5", ("facs-bench-small",)),
    ("facs-bench-label-noise:30", ("facs-bench-small",)),
    ("facs-bench-scarce:40:10", ("facs-bench-small",)),
)


@pytest.mark.parametrize(("name", "sets"), CASES)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), frames=st.integers(3, 6))
def test_nobody_is_ever_on_both_sides(name: str, sets: tuple[str, ...], seed: int, frames: int) -> None:
    data = [rows_of(one, seed + number, frames) for number, one in enumerate(sets)]
    people = [
        f"{NAMESPACE.get(one.name, one.name)}:{who}" for one in data for who in one.rows.column("subject").to_pylist()
    ]
    usable = np.concatenate([one.usable for one in data])
    wanted = protocol(name)
    parts = wanted.assign(data)
    assert len({part.test_part for part in parts}) == len(parts)
    for part in parts:
        trained, tested = ({people[row] for row in rows} for rows in (part.train_rows, part.test_rows))
        assert trained
        assert tested
        assert not trained & tested
        assert usable[part.train_rows].all()
        assert np.all(np.diff(part.train_rows) > 0)
        assert np.all(np.diff(part.test_rows) > 0)
        assert _same(part, next(one for one in wanted.assign(data) if one.test_part == part.test_part))


def _same(a: Assignment, b: Assignment) -> bool:
    return bool(
        np.array_equal(a.train_rows, b.train_rows) and np.array_equal(a.test_rows, b.test_rows) and a.aus == b.aus
    )


@pytest.mark.parametrize("name", ["bp4d", "disfa"])
def test_published_parts_are_those_of_the_papers(name: str) -> None:
    data = rows_of(name, fold=False, known=1.0)
    subjects = np.array(data.rows.column("subject").to_pylist())
    lists = [line.split() for line in FACTS[name].strip().splitlines()]
    parts = protocol(f"{name}-3fold").assign([data])
    assert [part.test_part for part in parts] == ["part 1", "part 2", "part 3"]
    for part, people in zip(parts, lists, strict=True):
        assert sorted(set(subjects[part.test_rows])) == sorted(people)
        assert sorted(set(subjects[part.train_rows])) == sorted(set(subjects) - set(people))
        assert len(part.test_rows) == 4 * len(people)  # also faces that were not found are judged
    every = np.concatenate([part.test_rows for part in parts])
    assert sorted(every) == list(range(len(subjects)))
    wanted = {"bp4d": (1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24), "disfa": (1, 2, 4, 6, 9, 12, 25, 26)}
    assert parts[0].aus == wanted[name]


def test_cross_domain_is_named_by_what_is_tested() -> None:
    data = [rows_of("bp4d"), rows_of("disfa")]
    [forth] = protocol("cross:bp4d->disfa").assign(data)
    [back] = protocol("cross:disfa→bp4d").assign(data[::-1])
    size = len(data[0].identity)
    assert (forth.test_part, back.test_part) == ("disfa", "bp4d")
    assert forth.aus == back.aus == (1, 2, 4, 6, 12)
    assert forth.train_rows.max() < size <= forth.test_rows.min()
    assert protocol("cross:bp4d->disfa").name == "cross:bp4d→disfa"


def test_small_draws_are_part_of_large_ones() -> None:
    data = [rows_of("disfa", frames=20)]
    [full, *_] = protocol("disfa-3fold").assign(data)
    draws = {count: protocol(f"data-efficiency:{count}").assign(data)[0] for count in (10, 100, 200)}
    for count, part in draws.items():
        assert len(part.train_rows) == count
        assert set(part.train_rows) <= set(full.train_rows)
        assert np.array_equal(part.test_rows, full.test_rows)
    assert set(draws[10].train_rows) < set(draws[100].train_rows) < set(draws[200].train_rows)
    other = protocol("data-efficiency:100:1").assign(data)[0]
    assert set(other.train_rows) != set(draws[100].train_rows)
    with pytest.raises(InputError, match="needs 10,000 training faces for part 1, there are"):
        protocol("data-efficiency:10000").assign(data)


def test_people_of_two_data_sets_that_filmed_the_same_ones() -> None:
    data = [rows_of("disfa", known=1.0), rows_of("disfa+", known=1.0), rows_of("casme2", known=1.0)]
    for part in protocol("leave-one-dataset-out").assign(data):
        if part.test_part == "disfa+":
            [note] = part.notes
            assert "20 training rows of 5 people who are also tested are left out" in note
    parts = protocol("leave-one-dataset-out").assign(data)
    assert [part.test_part for part in parts] == ["disfa", "disfa+", "casme2"]


def test_micro_expressions_are_judged_on_apex_frames() -> None:
    data = rows_of("casme2", frames=6, known=1.0)
    phase, subject = (np.array(data.rows.column(name).to_pylist()) for name in ("phase", "subject"))
    parts = protocol("micro:casme2-loso").assign([data])
    assert [part.test_part for part in parts] == [f"casme2:{who}" for who in PEOPLE["casme2"]]
    for part in parts:
        assert set(phase[part.test_rows]) == set(phase[part.train_rows]) == {"apex"}
        assert len(set(subject[part.test_rows])) == 1
    assert set(parts[0].aus) <= set(registry.reader("casme2").usual_aus)
    everything = protocol("micro:casme2-loso:all-frames").assign([data])
    assert sum(len(part.test_rows) for part in everything) == len(subject)


def test_the_benchmark_s_rigs_and_parts() -> None:
    data = rows_of("facs-bench-small")
    rig, subject = (np.array(data.rows.column(name).to_pylist()) for name in ("rig", "subject"))
    for part in protocol("facs-bench-cross-rig").assign([data]):
        assert {f"rig {name}" for name in rig[part.test_rows]} == {part.test_part}
        assert not set(rig[part.train_rows]) & set(rig[part.test_rows])
    for number, part in enumerate(protocol("facs-bench-3fold").assign([data]), start=1):
        assert {1 + int(who[-5:]) % 3 for who in subject[part.test_rows]} == {number}


def test_noise_flips_a_share_of_the_training_labels_and_nothing_else() -> None:
    data = rows_of("facs-bench-small", frames=40)
    part = protocol("facs-bench-label-noise:30").assign([data])[0]
    assert part.noise == LabelNoise(30, 0)
    changed = noisy_labels(data.rows, part.train_rows, part.aus, part.noise)
    for name in data.rows.column_names:
        before, after = data.rows.column(name), changed.column(name)
        assert before.type == after.type
        moved = np.flatnonzero([a != b for a, b in zip(before.to_pylist(), after.to_pylist(), strict=True)])
        label = re.fullmatch(r"AU\d\d", name)
        assert set(moved) <= set(part.train_rows)
        if label:
            known = [row for row in part.train_rows if before[int(row)].as_py() is not None]
            assert len(moved) == round(0.3 * len(known))
            assert all(after[int(row)].as_py() == 1 - before[int(row)].as_py() for row in moved)
            for beside in (f"{name}_i", f"{name}_L"):
                hidden = np.flatnonzero(changed.column(beside).is_null().to_numpy())
                assert np.array_equal(hidden, moved)
        elif not name.startswith("AU"):
            assert not len(moved)
    less = noisy_labels(data.rows, part.train_rows, (12,), LabelNoise(10, 0)).column("AU12").to_pylist()
    original, more = data.rows.column("AU12").to_pylist(), changed.column("AU12").to_pylist()
    assert all(b != a for a, b, c in zip(original, more, less, strict=True) if a != c)  # 10 % are among the 30 %


def test_scarce_people_keep_all_their_faces_and_fewer_are_among_more() -> None:
    data = rows_of(
        "facs-bench-small", frames=40, people=[f"{rig}-{n:05d}" for n in range(30) for rig in ("ict", "anny")]
    )
    full = protocol("facs-bench-3fold").assign([data])[1]

    def drawn(share: int, seed: int = 0) -> tuple[set[str], Assignment]:
        part = protocol(f"facs-bench-scarce:{share}:0:{seed}").assign([data])[1]
        assert np.array_equal(part.test_rows, full.test_rows)
        assert part.noise is None
        who = set(data.identity[part.train_rows])
        assert set(part.train_rows) == {row for row in full.train_rows if data.identity[row] in who}
        return who, part

    everybody = set(data.identity[full.train_rows])
    one, part = drawn(1)
    ten, _ = drawn(10)
    assert (len(one), len(ten)) == (2, round(len(everybody) / 10))
    assert one < ten < drawn(100)[0] == everybody
    assert part.notes[-1] == f"part 2: trained on 2 of {len(everybody)} people"
    assert drawn(10, seed=1)[0] != ten
    assert protocol("facs-bench-scarce:10:30").assign([data])[0].noise == LabelNoise(30, 0)


def _two_in_one() -> DataSetRows:
    a, b = rows_of("bp4d").rows, rows_of("disfa").rows
    return DataSetRows.of(pa.concat_tables([a, b]), Path("both"))


def _with(data: DataSetRows, name: str, values: list[object]) -> DataSetRows:
    return DataSetRows.of(data.rows.set_column(data.rows.column_names.index(name), name, [values]), data.place)


def _moved(name: str, who: str, fold: int) -> DataSetRows:
    data = rows_of(name)
    subjects, folds = data.rows.column("subject").to_pylist(), data.rows.column("fold").to_pylist()
    return _with(data, "fold", [fold if s == who else f for s, f in zip(subjects, folds, strict=True)])


def _cut() -> DataSetRows:
    data = rows_of("facs-bench-small")
    folds = data.rows.column("fold").to_pylist()
    return _with(data, "fold", [folds[0] % 3 + 1, *folds[1:]])


MISTAKES: tuple[tuple[str, Callable[[], list[DataSetRows]], type[Exception], str], ...] = (
    ("bp4d-3fold", lambda: [rows_of("disfa")], UsageError, "bp4d-3fold needs exactly the data set bp4d, but given is disfa"),
    ("bp4d-3fold", lambda: [], UsageError, "given is nothing"),
    ("cross:bp4d->disfa", lambda: [rows_of("bp4d")], UsageError, "needs exactly the data sets bp4d and disfa"),
    ("bp4d-3fold", lambda: [rows_of("bp4d", people=PEOPLE["bp4d"][:14])], InputError, "part 2 of bp4d-3fold is empty.*F003"),
    ("disfa-3fold", lambda: [rows_of("disfa", people=[*PEOPLE["disfa"], "SN099"])], InputError, "SN099 is in none of the pub"),
    ("bp4d-3fold", lambda: [_moved("bp4d", "M001", 3)], InputError, r"has M001 in fold 3 \(row \d+\), but M001 .* part 1"),
    ("facs-bench-3fold", lambda: [_cut()], InputError, r"is in fold \d and \d"),
    ("facs-bench-3fold", lambda: [rows_of("facs-bench-small", fold=False)], InputError, "must hold 1, 2 and 3"),
    ("facs-bench-cross-rig", lambda: [rows_of("facs-bench-small", people=["ict-00000"])], InputError, "faces of two rigs"),
    ("data-efficiency:5", lambda: [rows_of("casme2")], UsageError, "is about one of bp4d, disfa, facs-bench"),
    ("leave-one-dataset-out", lambda: [rows_of("bp4d")], UsageError, "two or more different data sets"),
    ("subject-kfold:9", lambda: [rows_of("casme2")], InputError, "7 people cannot be dealt into 9 parts"),
    ("bp4d-3fold", lambda: [_two_in_one()], InputError, "must name one data set, but names bp4d disfa"),
    ("bp4d-3fold", lambda: [rows_of("bp4d", known=0.0)], InputError, "no labelled face to test for part 1"),
)  # fmt: skip


@pytest.mark.parametrize(("name", "data", "kind", "words"), MISTAKES)
def test_what_makes_no_part_is_one_sentence(
    name: str, data: Callable[[], list[DataSetRows]], kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words) as caught:
        protocol(name).assign(data())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["bp4d", "fold-3", "data-efficiency", "data-efficiency:0", "subject-kfold:1", "facs-bench-label-noise:101",
     "facs-bench-scarce:10", "facs-bench-scarce:10:-1", "cross:a→b"]
)  # fmt: skip
def test_unknown_protocols(name: str) -> None:
    with pytest.raises(UsageError):
        protocol(name)


def test_missing_people_and_absent_aus_are_told() -> None:
    data = rows_of("disfa", people=[who for who in PEOPLE["disfa"] if who not in ("SN001", "SN010")])
    nobody = _with(data, "AU09", [0] * len(data.identity))
    part = protocol("disfa-3fold").assign([nobody])[0]
    assert part.notes == (
        "part 1: 2 of 9 people are missing (SN001 SN010)",
        "part 1: no tested face shows AU 9, so it cannot be judged there",
        "part 1: no training face shows AU 9, so it cannot be learned",
    )
