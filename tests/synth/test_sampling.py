"""People, pictures and labels follow their rules."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from openau.synth import expressions, labels, sampler
from openau.synth.parameters import RENDERED_AUS

RECIPES: Mapping[int, Mapping[str, float]] = {
    **{n: {f"shape{n}_L": 1.0, f"shape{n}_R": 1.0} for n in RENDERED_AUS},
    22: {"mouthFunnel": 1.0},
    26: {"jawOpen": 0.4},
    27: {"jawOpen": 1.0},
}


def shots(count: int, seed: int = 0) -> list[sampler.Shot]:
    rng = np.random.default_rng(seed)
    person = sampler.sample_person(0, "ict", rng)
    return [sampler.sample_shot(person, RECIPES.__getitem__, rng) for _ in range(count)]


def test_same_generator_same_person_and_picture() -> None:
    one, two = (np.random.default_rng([5, 3]) for _ in range(2))
    first, second = sampler.sample_person(3, "anny", one), sampler.sample_person(3, "anny", two)
    assert first == second
    assert sampler.sample_shot(first, RECIPES.__getitem__, one) == sampler.sample_shot(second, RECIPES.__getitem__, two)


def test_every_au_is_drawn_and_faces_are_sparse() -> None:
    drawn = [{au for (au, _), level in shot.activation.items() if level >= 0.2} for shot in shots(3000)]
    counts = Counter(au for aus in drawn for au in aus)
    assert set(RENDERED_AUS) <= set(counts)
    assert min(counts[au] for au in RENDERED_AUS) >= 15
    assert 1.0 < np.mean([len(aus) for aus in drawn]) < 3.0
    assert 0.25 < np.mean([not aus for aus in drawn]) < 0.5


def test_excluded_pairs_never_meet() -> None:
    for shot in shots(2000, seed=1):
        level = {au: max(shot.activation[au, "L"], shot.activation[au, "R"]) for au, _ in shot.activation}
        assert not (level.get(43, 0) > 0.45 and (5 in level or 7 in level))
        assert not (level.get(27, 0) > 0.15 and (17 in level or 24 in level))
        assert not (24 in level and 25 in level)


def test_some_aus_are_one_sided_and_others_never() -> None:
    sampled = shots(4000, seed=2)
    gap = {au: [] for au in (12, 1)}
    for shot in sampled:
        for au, values in gap.items():
            if (au, "L") in shot.activation:
                left, right = shot.activation[au, "L"], shot.activation[au, "R"]
                values.append(abs(left - right) / max(left, right, 1e-9))
    assert 0.03 < np.mean(np.array(gap[12]) > 0.5) < 0.25
    assert max(gap[1]) < 0.5


def test_expression_is_linear_and_splits_sides() -> None:
    activation = {(12, "L"): 0.8, (12, "R"): 0.2, (26, "L"): 0.6, (26, "R"): 0.6}
    shapes = sampler.expression_of(activation, RECIPES.__getitem__)
    assert shapes == pytest.approx({"shape12_L": 0.8, "shape12_R": 0.2, "jawOpen": 0.24})


def plain(**changes: object) -> sampler.Shot:
    return replace(shots(1)[0], activation={}, nuisance={}, **changes)


def test_the_documented_rules_are_the_ones_beside_the_code() -> None:
    page = (Path(__file__).parents[2] / "docs" / "synth.md").read_text(encoding="utf-8")
    tables = [
        [line for line in text.splitlines() if line.startswith("|")]
        for text in (page.split("## Labels")[1].split("The manifest's columns")[0], labels.__doc__ or "")
    ]
    assert len(tables[0]) > 8
    assert tables[0] == tables[1]


def test_occurrence_zones() -> None:
    assert [labels.occurrence(12, level) for level in (0.0, 0.099, 0.1, 0.199, 0.2, 1.0)] == [0, 0, None, None, 1, 1]
    assert [labels.occurrence(43, level) for level in (0.2, 0.3, 0.5)] == [0, None, 1]


def test_lip_gap_makes_au25_and_masks_pressed_lips() -> None:
    shot = replace(plain(), activation={(24, "L"): 0.6, (24, "R"): 0.6})
    row = labels.label_columns(labels.levels_of(shot, lip_gap=4.0, recipe=RECIPES.__getitem__))
    assert row["AU25"] == 1
    assert row["AU25_i"] == pytest.approx(5 * 3.5 / 7.5, abs=1e-3)
    assert row["AU24"] is None
    closed = labels.label_columns(labels.levels_of(shot, lip_gap=0.3, recipe=RECIPES.__getitem__))
    assert (closed["AU25"], closed["AU24"]) == (0, 1)


def test_closed_eyes_hide_the_lids() -> None:
    shot = replace(plain(), activation={(43, "L"): 0.9, (43, "R"): 0.9, (7, "L"): 0.5, (7, "R"): 0.5})
    row = labels.label_columns(labels.levels_of(shot, 0.0, RECIPES.__getitem__))
    assert (row["AU43"], row["AU05"], row["AU07"], row["AU06"]) == (1, None, None, 0)


def test_talking_masks_what_it_resembles() -> None:
    row = labels.label_columns(
        labels.levels_of(replace(plain(), nuisance={"mouthFunnel": 0.4, "jawOpen": 0.2}), 3.0, RECIPES.__getitem__)
    )
    assert row["AU22"] is None
    assert row["AU26"] == 1
    assert row["AU26_i"] == pytest.approx(2.5)


def test_sides_are_labelled_apart() -> None:
    shot = replace(plain(), activation={(12, "L"): 0.9, (12, "R"): 0.05})
    row = labels.label_columns(labels.levels_of(shot, 0.0, RECIPES.__getitem__))
    assert (row["AU12"], row["AU12_L"], row["AU12_R"]) == (1, 1, 0)
    assert row["AU12_iL"] == pytest.approx(4.5)


def test_smiles_come_with_cheeks() -> None:
    rng = np.random.default_rng(4)
    levels = [expressions.sample_levels(rng)[0] for _ in range(4000)]
    with_12 = [12 in drawn for drawn in levels]
    with_6 = np.array([6 in drawn for drawn in levels])
    assert with_6[np.array(with_12)].mean() > 3 * with_6[~np.array(with_12)].mean()
