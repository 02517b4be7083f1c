"""Published data sets: balanced, the same for everyone, difficult where they say so, and a copy that differs is noticed."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from openau.cli.synth import app
from openau.errors import InputError, UsageError
from openau.facs import occurrence_column
from openau.synth import anny, conditions, dataset, ict, presets, published
from openau.synth.assets import Assets
from openau.synth.dataset import manifest_path, render_person
from openau.synth.parameters import RENDERED_AUS, Condition, Person, Shot
from openau.synth.plan import Plan
from openau.synth.sampler import sample_shot

SMALL = presets.PRESETS["facs-bench-small"]
TINY = replace(SMALL, people=2, images=7, folds=1, rigs=("anny",), size=64, name="tiny", version=3)
"""Of the rig that anyone has at once."""
RECIPES = {"ict": ict.RECIPES, "anny": anny.RECIPES}


@pytest.mark.parametrize(
    ("name", "pictures", "people"), [("facs-bench", 24_000, 300), ("facs-bench-small", 6_000, 150)]
)
def test_parts_rigs_and_conditions_are_balanced(name: str, pictures: int, people: int) -> None:
    plan = presets.preset(name)
    assert plan.people >= people
    assert plan.people * plan.images >= pictures
    rigs = Counter((plan.fold_of(number), plan.rig_of(number)) for number in range(plan.people))
    assert rigs == {(fold, rig): plan.people / 6 for fold in (1, 2, 3) for rig in ("ict", "anny")}
    for number in range(0, plan.people, 29):
        dealt = Counter(plan.conditions_of(number))
        assert dealt == {condition: share * plan.images for condition, share in presets.SHARES.items()}
    sexes = [plan.person(number)[0].sex for number in range(plan.people)]
    assert 0.4 < sexes.count("f") / plan.people < 0.6


def test_people_of_the_small_set_are_others() -> None:
    first = [presets.preset(name).person(0)[0] for name in presets.PRESETS]
    assert first[0] != first[1]


@pytest.mark.parametrize("name", presets.PRESETS)
def test_the_numbers_drawn_here_are_the_published_ones(name: str) -> None:
    """Both rigs, exactly; and other numbers are told."""
    plan, known = presets.preset(name), published.published(name)
    assert (known.name, known.version) == (plan.name, plan.version)
    assert [published.parameters_digest(plan, number) for number in (0, 3)] == [
        known.parameters[0],
        known.parameters[3],
    ]
    assert next(published.check_parameters(plan), "nothing was compared") is None
    with pytest.raises(InputError, match=rf"{name} 1: the parameters drawn here differ.*person 0; NumPy"):
        list(published.check_parameters(replace(plan, seed=plan.seed + 1)))


@pytest.mark.parametrize("name", presets.PRESETS)
def test_what_is_published_covers_everyone_and_every_condition(name: str) -> None:
    plan, known = presets.preset(name), published.published(name)
    assert len(known.parameters) == len(known.labels) == len(known.lip_gaps) == plan.people
    assert len(set(known.parameters)) == len(set(known.labels)) == plan.people
    assert list(known.pictures) == published.reference_pictures(plan)
    seen = set()
    for picture, colours in known.pictures.items():
        _, folder, file = picture.split("/")
        seen |= {plan.rig_of(int(folder)), plan.conditions_of(int(folder))[int(file[:3])]}
        assert len(colours) == published.BLOCKS**2 * 3
        assert np.std(colours) > 3
    assert seen == {"ict", "anny", *conditions.CONDITIONS}


def test_the_documented_hashes_are_the_published_ones() -> None:
    page = (Path(__file__).parents[2] / "docs" / "synth.md").read_text(encoding="utf-8")
    for name in presets.PRESETS:
        known = published.published(name)
        assert published.overall(known.parameters) in page
        assert published.overall(known.labels) in page


@pytest.fixture(scope="module")
def drawn() -> list[tuple[Person, Condition, Shot, Shot]]:
    """Pictures of ten people: whose, under which condition, as drawn, and as placed under it."""
    found = []
    for number in range(10):
        person, _ = SMALL.person(number)
        recipe = RECIPES[person.rig].__getitem__
        for index, condition in enumerate(SMALL.conditions_of(number)):
            assert condition is not None
            before = sample_shot(person, recipe, np.random.default_rng([SMALL.seed, number, 3, index]))
            found.append((person, condition, before, SMALL.shot(person, index, condition, recipe)[0]))
    return found


def test_a_difficulty_leaves_the_expression_alone(drawn: list[tuple[Person, Condition, Shot, Shot]]) -> None:
    for _, _, before, after in drawn:
        for kept in ("activation", "expression", "nuisance", "wrinkles", "gaze", "talking", "camera", "background"):
            assert getattr(after, kept) == getattr(before, kept)


def test_each_condition_is_difficult_in_its_own_way_only(drawn: list[tuple[Person, Condition, Shot, Shot]]) -> None:
    for _, condition, before, shot in drawn:
        pitch, yaw, _ = map(abs, shot.head)
        covered = shot.occluder is not None or shot.glasses is not None
        spoilt = (
            shot.finish.resolution < 0.8, shot.finish.blur > 0.65, shot.finish.noise > 3, shot.finish.quality < 80,
        )  # fmt: skip
        assert (yaw >= 30 or pitch >= 16) if condition == "pose" else yaw <= 0.6 * 42
        assert covered == (condition == "occlusion")
        if condition == "degraded":
            assert sum(spoilt) >= 1
        elif condition != "light":
            assert shot.finish == replace(before.finish, resolution=max(before.finish.resolution, 0.8))
        if condition == "light":
            strength = max(shot.lights[0].colour)
            hard = max(shot.ambient[0]) <= 0.1 + 1e-9 and 1.1 <= strength <= 1.7
            assert hard or 0.2 <= strength / max(before.lights[0].colour) <= 0.4
        else:
            assert shot.lights == before.lights
            assert max(shot.ambient[0]) == pytest.approx(max(*before.ambient[0], 0.2))


def test_what_covers_a_face_is_on_it_and_leaves_most_of_it(drawn: list[tuple[Person, Condition, Shot, Shot]]) -> None:
    """Areas by hand: the face is an ellipse of half axes .6 and .85 face heights, a bar .6 sizes wide, a blob 2.6 × 1.6 sizes."""
    covers = [shot for _, _, _, shot in drawn if shot.occluder is not None]
    assert len(covers) > 30
    for shot in covers:
        assert shot.occluder is not None
        size, (x, y) = shot.occluder.size * shot.camera.framing, shot.occluder.centre
        area = np.pi * 1.3 * 0.8 * size**2 if shot.occluder.kind == "blob" else 0.6 * size * 1.7
        assert 0.08 < area / (np.pi * 0.6 * 0.85) < 0.3
        assert abs(x - 0.5) * shot.camera.framing < 0.75
        assert -0.8 < (y - 0.5) * shot.camera.framing + 0.36 < 1.4


def test_dealing_gives_exact_shares_and_the_rest_to_the_largest_remainders() -> None:
    rng = np.random.default_rng(0)
    assert Counter(conditions.deal({"plain": 0.5, "pose": 0.3, "light": 0.2}, 7, rng)) == {
        "plain": 4,
        "pose": 2,
        "light": 1,
    }
    hands = {conditions.deal(presets.SHARES, 20, np.random.default_rng(seed)) for seed in range(10)}
    assert len(hands) == 10
    with pytest.raises(ValueError, match="sum to"):
        conditions.deal({"plain": 0.5}, 4, rng)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A small preset, rendered and published."""
    out = tmp_path_factory.mktemp("tiny") / "set"
    (out / "parts").mkdir(parents=True)
    for number in range(TINY.people):  # in this process: a worker would take longer to start than to render
        render_person(TINY, out, number)
    list(dataset.render(TINY, out))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(published, "FILES", tmp_path_factory.mktemp("published"))
        published.publish(TINY, out, {"numpy": np.__version__})
        yield out
    published.published.cache_clear()


@pytest.mark.weights
def test_a_copy_agrees_with_what_is_published(rendered: Path) -> None:
    assert len(list(published.check_parameters(TINY))) == TINY.people
    published.check_labels(TINY, rendered)
    assert published.check_pictures(TINY, rendered) <= 0.5 + 1e-9  # published colours are whole grey levels
    table = pq.read_table(manifest_path(rendered))
    assert set(table.column("dataset").to_pylist()) == {"tiny"}
    assert Counter(table.column("condition").to_pylist()) == {
        "plain": 6, "pose": 2, "light": 2, "occlusion": 2, "degraded": 2,
    }  # fmt: skip
    assert table.column("rig").to_pylist() == ["anny"] * 14


@pytest.mark.weights
def test_the_users_assets_are_not_looked_at(rendered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With skins, backgrounds and a rig in the user's folder, or with a folder that is gone, the bytes stay."""
    for file in ("backgrounds/red.png", "skins/young_lightskinned_female_diffuse.png", "ict_facekit_light.npz"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "red.png"), np.full((80, 80, 3), (0, 0, 255), np.uint8))
        shutil.copy(tmp_path / "red.png", tmp_path / file)
    monkeypatch.setenv("OPENAU_SYNTH_ASSETS", str(tmp_path / "gone"))
    assert Assets("none").root is None
    monkeypatch.setenv("OPENAU_SYNTH_ASSETS", str(tmp_path))
    users = Assets()
    assert users.backgrounds
    assert users.skins
    assert users.ict_npz is not None
    bare = Assets("none")
    assert (bare.backgrounds, bare.skins, bare.garments, bare.ict_npz) == ((), (), (), None)
    for built in (dataset._assets, dataset._studio):
        built.cache_clear()
    (tmp_path / "out" / "parts").mkdir(parents=True)
    render_person(TINY, tmp_path / "out", 1)
    made = sorted((tmp_path / "out").rglob("*.jpg"))
    assert len(made) == TINY.images
    for picture in made:
        assert picture.read_bytes() == (rendered / picture.relative_to(tmp_path / "out")).read_bytes()


@pytest.mark.weights
def test_the_command_line_says_that_all_is_as_published(rendered: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once after (not) rendering, once for a folder; and a difference comes out as the error the command line prints."""
    monkeypatch.setattr(presets, "PRESETS", {"tiny": TINY})
    known = published.published("tiny")
    runner = CliRunner()
    for arguments in (["-o", str(rendered), "--preset", "tiny"], ["check", str(rendered)]):
        done = runner.invoke(app, arguments)
        assert done.exit_code == 0, done.output
        assert f"parameters as published: tiny 3, SHA-256 {published.overall(known.parameters)}" in done.output
        assert f"labels as published: tiny 3, SHA-256 {published.overall(known.labels)}" in done.output
        assert (
            f"pixels as published: the blocks of {len(known.pictures)} reference pictures differ by 0.5" in done.output
        )
    monkeypatch.setattr(published, "PIXEL_TOLERANCE", 0.1)
    assert isinstance(runner.invoke(app, ["check", str(rendered)]).exception, InputError)


Tamper = Callable[[list[dict[str, object]]], None]


def _flip_a_label(rows: list[dict[str, object]]) -> None:
    rows[8]["AU12"] = {0: 1, 1: None, None: 0}[rows[8]["AU12"]]  # type: ignore[index]


def _shift_an_intensity(rows: list[dict[str, object]]) -> None:
    rows[2]["AU04_i"] = min(float(rows[2]["AU04_i"] or 0) + 0.001, 4.9)  # type: ignore[arg-type]


def _drop_a_row(rows: list[dict[str, object]]) -> None:
    del rows[-1]


def _change_fold(rows: list[dict[str, object]]) -> None:
    for row in rows[:7]:
        row["fold"] = 2


def _change_lips(rows: list[dict[str, object]]) -> None:
    rows[0]["AU25_i"] = 4.5 if float(rows[0]["AU25_i"] or 0) < 4 else 1.0  # type: ignore[arg-type]


@pytest.mark.weights
@pytest.mark.parametrize(
    ("tamper", "sentence"),
    [
        (_flip_a_label, "labels of 1 of 2 people differ .* tiny 3, first of person 1 .clip 00001."),
        (_shift_an_intensity, "labels of 1 of 2 people differ .* first of person 0"),
        (_drop_a_row, "first of person 1"),
        (_change_fold, "first of person 0"),
        (_change_lips, r"AU25_i of images/00000/000\.jpg \(person 0\) is not what its lip_gap says"),
    ],
)
def test_a_changed_label_is_noticed(rendered: Path, tmp_path: Path, tamper: Tamper, sentence: str) -> None:
    table = pq.read_table(manifest_path(rendered))
    rows = table.to_pylist()
    tamper(rows)
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), manifest_path(tmp_path))
    with pytest.raises(InputError, match=rf"manifest\.parquet: .*{sentence}"):
        published.check_labels(TINY, tmp_path)


@pytest.mark.weights
def test_lips_moved_with_their_label_are_noticed(rendered: Path, tmp_path: Path) -> None:
    table = pq.read_table(manifest_path(rendered))
    rows = table.to_pylist()
    row = next(row for row in rows if 1 < row["lip_gap"] < 7)
    row["lip_gap"] += 0.05
    row["AU25_i"] += 5 * 0.05 / 7.5
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), manifest_path(tmp_path))
    with pytest.raises(InputError, match=r"lip_gap, and with it AU25_i, differs .* by 0\.0071 mm"):
        published.check_labels(TINY, tmp_path)


@pytest.mark.weights
def test_a_changed_and_a_missing_picture_are_noticed(rendered: Path, tmp_path: Path) -> None:
    out = shutil.copytree(rendered, tmp_path / "copy")
    name = published.reference_pictures(TINY)[7]
    picture = cv2.imread(str(out / name)).astype(int)
    cv2.imwrite(str(out / name), np.clip(picture + 6, 0, 255).astype(np.uint8))
    with pytest.raises(InputError, match=rf"{name}: differs .* grey levels \(tolerance 2\)"):
        published.check_pictures(TINY, out)
    (out / name).unlink()
    with pytest.raises(InputError, match=rf"{name}: cannot be read"):
        published.check_pictures(TINY, out)


@pytest.mark.weights
def test_an_ordinary_manifest_is_not_a_preset(rendered: Path, tmp_path: Path) -> None:
    table = pq.read_table(manifest_path(rendered)).drop_columns(["condition"])
    pq.write_table(table, manifest_path(tmp_path))
    with pytest.raises(InputError, match="has no column condition, so it is not tiny 3"):
        published.check_labels(TINY, tmp_path)


def test_a_folder_says_which_preset_it_holds(tmp_path: Path) -> None:
    import json

    def record(plan: Plan) -> None:
        (tmp_path / "dataset.json").write_text(json.dumps(dataset.settings_of(plan)))

    with pytest.raises(InputError, match="holds no rendered data set"):
        presets.preset_in(tmp_path)
    record(Plan(people=2))
    with pytest.raises(InputError, match="was not rendered from a preset"):
        presets.preset_in(tmp_path)
    record(replace(SMALL, version=0))
    with pytest.raises(InputError, match="other settings than facs-bench-small 1"):
        presets.preset_in(tmp_path)
    record(SMALL)
    with pytest.raises(InputError, match=r"is not finished; go on with openau synth -o .* --preset facs-bench-small"):
        presets.preset_in(tmp_path)
    manifest_path(tmp_path).touch()
    assert presets.preset_in(tmp_path) is SMALL
    with pytest.raises(UsageError, match="'facs'; there are facs-bench, facs-bench-small"):
        presets.preset("facs")


@pytest.mark.parametrize("option", [("--people", "300"), ("--no-shadows",)])
def test_options_that_would_change_a_preset(
    openau: Callable[..., CompletedProcess[str]], tmp_path: Path, option: tuple[str, ...]
) -> None:
    done = openau("synth", "-o", tmp_path / "x", "--preset", "facs-bench", *option)
    assert done.returncode == 2
    named = option[0].replace("--no-", "--")
    assert f"--preset facs-bench fixes {named}" in done.stderr
    assert not (tmp_path / "x").exists()


def test_rows_of_a_digest_hold_every_label() -> None:
    hashed = set(published.EXACT_LABELS)
    assert {occurrence_column(number) for number in RENDERED_AUS} <= hashed
    assert {f"AU12_{part}" for part in ("i", "L", "R", "iL", "iR")} <= hashed
    assert "AU25_i" not in hashed
