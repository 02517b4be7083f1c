"""A model adapted to new people: what is taken over, who is judged by whom, what is held, what the verdict says."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import folder_tree
import lit_faces
import numpy as np
import pyarrow as pa
import pytest
import tiny_auformer
import torch
from typer.testing import CliRunner

from openau.cli import app
from openau.cli.finetune import _prepared, in_words
from openau.errors import InputError, UsageError
from openau.evaluation.metrics import roc_auc
from openau.models.au_vit import AUViTConfig
from openau.models.create import build
from openau.models.vit import ViT, ViTConfig
from openau.models.vit_transfer import start_from
from openau.runtime import Detector
from openau.training.adaptation import Findings, Verdict, compared, cross_fitted, gather
from openau.training.au_file import read_calibration
from openau.training.callbacks import Progress
from openau.training.checkpoint import BEST, load_checkpoint, load_vit
from openau.training.face_pictures import FacePictures
from openau.training.finetune import ADAPTED, Adapted, Plan, _Clock, adapt, deal
from openau.training.picture_recipes import FINETUNE
from openau.training.picture_task import PictureTask, rates
from openau.training.predict import predict_pictures
from openau.weights.cards import ModelCard

RECIPE = dataclasses.replace(FINETUNE, epochs=6, batch=12, learning_rate=3e-3)
"""For a model that has learned nothing."""


@pytest.fixture(scope="module", autouse=True)
def small() -> Iterator[None]:
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        tiny_auformer.shrink(patch)
        yield


@pytest.fixture(scope="module")
def start(faces: FacePictures, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_auformer.make(tmp_path_factory.mktemp("start"), faces)


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> FacePictures:
    return FacePictures.open(lit_faces.make(tmp_path_factory.mktemp("faces") / "lit", people=8, each=12))


@pytest.fixture(scope="module")
def adapted(faces: FacePictures, start: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Adapted, Plan]:
    plan = Plan("tiny", start, tmp_path_factory.mktemp("out") / "a", RECIPE, folds=2)
    return adapt(faces, plan), plan


def with_labels(faces: FacePictures, **columns: list[int | None]) -> FacePictures:
    rows = faces.rows
    for name, values in columns.items():
        rows = rows.set_column(rows.column_names.index(name), name, pa.array(values, pa.int8()))
    return dataclasses.replace(faces, rows=rows, meta={"labels": str(columns)})


def of_people(faces: FacePictures, *names: str) -> FacePictures:
    keep = np.isin(faces.rows.column("subject").to_pylist(), names)
    return dataclasses.replace(
        faces, rows=faces.rows.filter(pa.array(keep)), ok=faces.ok[keep], flipped=faces.flipped[keep]
    )


# What is taken over


def model(aus: tuple[int, ...], seed: int, **options: object) -> torch.nn.Module:
    torch.manual_seed(seed)
    made = build(AUViTConfig(aus, VIT, "x", "0" * 64, width=2, **options), ViT(VIT))  # type: ignore[arg-type]
    for weight in made.kept().values():
        weight.copy_(0.1 * torch.randn_like(weight) + 0.2)
    return made.eval()


VIT = ViTConfig(width=24, depth=2, heads=4, patch=8, size=32)


@pytest.mark.parametrize("options", [{}, {"hidden": 5, "supervised": "every", "pool": "mean"}, {"method": "lora"}])
def test_the_same_aus_in_another_order_say_the_same(options: dict[str, object]) -> None:
    source, target = model((1, 4, 12), 1, **options), model((12, 1, 4), 2, **options)
    target.load_state_dict(
        {**target.state_dict(), **{n: t for n, t in source.state_dict().items() if n not in source.kept()}}
    )
    assert start_from(target, source) == (12, 1, 4)
    pixels = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        (mine, my_experts), (given, their_experts) = target.judge(pixels), source.judge(pixels)
    torch.testing.assert_close(mine, given[:, [2, 0, 1]], atol=1e-4, rtol=1e-4)
    if my_experts is not None:
        torch.testing.assert_close(my_experts, their_experts[:, :, [2, 0, 1]], atol=1e-4, rtol=1e-4)


def test_of_other_aus_only_what_is_shared_is_taken_over() -> None:
    source, target = model((1, 4, 12), 1), model((12, 25), 2)
    before = {name: weight.clone() for name, weight in target.kept().items()}
    assert start_from(target, source) == (12,)
    mine, given = target.kept(), source.kept()
    for name, axis in (("mokes.groups.3.down_weight", 0), ("head.layers.0.bias", 0), ("experts.weight", 1)):
        torch.testing.assert_close(mine[name].select(axis, 0), given[name].select(axis, 2))
        torch.testing.assert_close(mine[name].select(axis, 1), before[name].select(axis, 1))
    torch.testing.assert_close(mine["head.std"], given["head.std"])


def test_models_that_do_not_fit_are_told_apart() -> None:
    target = model((1, 4), 0)
    for source, words in (
        (model((12,), 0), "no AU in common"),
        (model((1, 4), 0, context=5), "context is 5, not 3"),
        (build(dataclasses.replace(target.config, width=3), ViT(VIT)), "has the size"),
        (
            build(dataclasses.replace(target.config, backbone="y", backbone_sha256="1" * 64), ViT(VIT)),
            r"another backbone \(y, not x\)",
        ),
        (
            build(dataclasses.replace(target.config, vit=dataclasses.replace(VIT, registers=2)), ViT(VIT)),
            "made otherwise",
        ),
    ):
        with pytest.raises(ValueError, match=words):
            start_from(target, source)


def test_a_run_starts_where_the_checkpoint_stands(faces: FacePictures, start: Path) -> None:
    task, source = PictureTask(), load_checkpoint(start)
    recipe = dataclasses.replace(
        source.provenance.recipe, name="other", aus=tiny_auformer.AUS, remember=1.0, augmentation=FINETUNE.augmentation
    )
    config = task.configure(faces, recipe)
    assert config.aus == tiny_auformer.AUS  # AU 25 is not labelled, but remembered
    parts = task.parts(faces, np.arange(90), np.arange(90, 96), config, recipe, 0, source)
    rows = np.arange(90, 96)
    np.testing.assert_allclose(
        predict_pictures(parts.module.model, faces, rows), predict_pictures(source.model, faces, rows), atol=1e-6
    )
    kept = parts.module.remembered.numpy()
    assert np.isnan(kept[:, :2]).all()
    assert np.isnan(kept[90:]).all()
    said = predict_pictures(source.model, faces, np.arange(90), mirror=True)[:, 2]
    np.testing.assert_allclose(kept[:90, 2], 1 / (1 + np.exp(-said)), atol=1e-5)
    with pytest.raises(UsageError, match="needs a checkpoint"):
        task.parts(faces, rows, rows, config, recipe, 0, None)
    other = dataclasses.replace(source, model=build(dataclasses.replace(config, aus=(43,)), ViT(config.vit)))
    with pytest.raises(UsageError, match=r"\(nothing\) does not fit: the two models have no AU in common"):
        task.parts(faces, rows, rows, config, recipe, 0, other)


def test_few_labels_make_no_extreme_rates() -> None:
    none = np.zeros((20, 1), np.float32)
    np.testing.assert_allclose(rates(none, (12,), 20.0), [20 * 0.30 / 40], rtol=1e-6)
    np.testing.assert_allclose(rates(np.full((20, 1), np.nan, np.float32), (12,), 20.0), [0.30], rtol=1e-6)


# Adapting


def test_adapting_helps_where_there_is_something_to_learn(adapted: tuple[Adapted, Plan]) -> None:
    findings = adapted[0].findings
    assert findings.verdict == "helps", findings.sentence
    assert findings.sentence.endswith("8 people): adapting helps on your data")
    gain = findings.compared.comparison.mean["auc"]  # type: ignore[union-attr]
    assert gain.a > 0.75
    assert gain.b < 0.65
    assert findings.measured["gain in mean AUC"].low > 0
    assert "| AU04 |" in findings.to_markdown()
    assert json.loads(findings.to_json())["comparison"]["per_au"]["12"]["f1_chosen"]["a"] > 0.5


def test_nobody_is_judged_by_a_model_that_has_seen_them(adapted: tuple[Adapted, Plan], faces: FacePictures) -> None:
    done, plan = adapted
    everyone = set(faces.rows.column("subject").to_pylist())
    trained = [set(load_vit(plan.out / "runs" / f"fold-{k}-of-2" / BEST)[1].trained) for k in (1, 2)]
    assert trained[0] | trained[1] == everyone
    assert not trained[0] & trained[1]
    assert set(done.provenance.trained) == everyone
    # The numbers are those of the folds' models, each on the people it has not seen.
    said, truth = np.zeros((len(done.material.rows), 3)), done.material.labels
    for names, fold in zip(trained, ("fold-1-of-2", "fold-2-of-2"), strict=True):
        rows = np.flatnonzero(~np.isin(done.material.people, list(names)))
        said[rows] = predict_pictures(
            load_vit(plan.out / "runs" / fold / BEST)[0], faces, done.material.rows[rows], mirror=True
        )
    per_au = done.findings.compared.comparison.per_au  # type: ignore[union-attr]
    for column, number in enumerate((4, 12)):
        assert per_au[number]["auc"].a == pytest.approx(roc_auc(said[:, column], truth[:, column]), abs=1e-6)


def test_a_stopped_call_goes_on_and_says_the_same(adapted: tuple[Adapted, Plan], faces: FacePictures) -> None:
    done, plan = adapted
    told: list[object] = []
    again = adapt(faces, plan, told.append)
    assert not told
    assert again.findings.to_json() == done.findings.to_json()
    with pytest.raises(UsageError, match="another recipe"):
        adapt(faces, dataclasses.replace(plan, recipe=dataclasses.replace(RECIPE, epochs=1)))


def test_unlabelled_aus_are_held(
    faces: FacePictures, start: Path, adapted: tuple[Adapted, Plan], tmp_path: Path
) -> None:
    done, plan = adapted
    assert done.findings.kept == {25: (0, 0)}
    assert done.aus == (4, 12)  # nobody knows a threshold of AU 25
    assert "nothing taught them or gave them a threshold: AU25" in " ".join(done.findings.notes())
    rows = done.material.rows
    loose = dataclasses.replace(RECIPE, remember=1e-9)
    forgot = adapt(faces, dataclasses.replace(plan, out=tmp_path / "loose", recipe=loose, folds=0))
    before = predict_pictures(load_vit(start)[0], faces, rows)
    moved, drifted = (np.abs(predict_pictures(one.model, faces, rows) - before)[:, 2].mean() for one in (done, forgot))
    assert moved < drifted / 5
    assert moved < 0.1
    assert forgot.findings.verdict == "not validated"
    assert forgot.findings.measured == {}


def test_labels_at_random_teach_nothing(faces: FacePictures, start: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    random = with_labels(faces, AU04=rng.integers(0, 2, 96).tolist(), AU12=rng.integers(0, 2, 96).tolist())
    recipe = dataclasses.replace(RECIPE, epochs=2)
    done = adapt(random, Plan("tiny", start, tmp_path / "r", recipe, folds=2)).findings
    assert done.verdict in ("no gain", "worse"), done.sentence
    assert done.sentence.endswith("keep tiny")


# The verdict


@pytest.mark.parametrize(
    ("people", "after", "verdict"),
    [(8, 2.0, "helps"), (8, 0.0, "no gain"), (8, -2.0, "worse"), (5, 2.0, "too few people")],
)
def test_the_verdict_follows_the_interval(faces: FacePictures, people: int, after: float, verdict: Verdict) -> None:
    """`after` times the truth is added to noise that both models share."""
    some = of_people(faces, *(f"p{number}" for number in range(people)))
    material = gather(some, (4, 12), "tiny")
    noise = np.random.default_rng(0).standard_normal(material.labels.shape).astype(np.float32)
    fold = np.where(np.isin(material.people, ["p0", "p1", "p2"]), "a", "b")
    found = compared(material, noise, noise + after * np.nan_to_num(material.labels), fold, "tiny")
    findings = Findings(
        model="tiny", data="lit", faces=len(material.rows), people=people, folds=2, aus=(4, 12), counts=material.counts, kept={},
        strange=(), recipe=FINETUNE, seed=0, command="openau finetune", compared=found,
    )  # fmt: skip
    assert findings.verdict == verdict
    assert f"{people} people" in findings.sentence
    assert found.comparison.mean["auc"].b == pytest.approx(
        np.mean([roc_auc(noise[:, a], material.labels[:, a]) for a in range(2)]), abs=1e-6
    )


def test_thresholds_come_from_the_other_folds() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, (60, 1)).astype(np.float32)
    logits = (labels * 2 + rng.standard_normal((60, 1))).astype(np.float32)
    fold = np.repeat(np.array(["a", "b"]), 30)
    plain = cross_fitted(logits, labels, fold, (12,))
    turned = cross_fitted(logits, np.where(fold[:, None] == "a", 1 - labels, labels), fold, (12,))
    assert plain["a"] == turned["a"]
    assert plain["b"] != turned["b"]


def test_people_are_dealt_whole_and_evenly() -> None:
    dealt = deal([f"p{n}" for n in range(11)], 4, 0)
    assert sorted(map(len, dealt)) == [2, 3, 3, 3]
    assert sorted(name for names in dealt for name in names) == sorted(f"p{n}" for n in range(11))


def test_the_clock_counts_over_all_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(np.arange(0, 1000, 2.0))
    monkeypatch.setattr("openau.training.finetune.time.perf_counter", lambda: float(next(now)))
    told = []
    clock = _Clock([10, 10, 20], 30.0, told.append)
    tell = clock.stage(1, "fold 2 of 2")
    for step in range(1, 8):
        tell(Progress(1, step, 1, 10, {}))
    assert told[0].left is None
    assert (told[-1].done, told[-1].steps) == (17, 40)
    assert told[-1].left == pytest.approx(23 * 2 + 30 * 2 / 3)
    assert (in_words(50), in_words(400)) == ("about 50 seconds", "about 7 minutes")


# What cannot be done


def test_bad_input_is_one_sentence(faces: FacePictures, start: Path, tmp_path: Path) -> None:
    plan = Plan("tiny", start, tmp_path / "x", RECIPE)
    with pytest.raises(InputError, match=r"all labelled faces show one person \(p3\).*--no-validation"):
        adapt(of_people(faces, "p3"), plan)
    with pytest.raises(InputError, match="no face that was found has a known label for an AU of tiny"):
        adapt(with_labels(faces, AU04=[None] * 96, AU12=[None] * 96), plan)
    with pytest.raises(InputError, match="at least 5 faces that show it and 5 that do not"):
        adapt(with_labels(faces, AU04=[0] * 96, AU12=[1] * 4 + [0] * 92), plan)
    for change, words in (
        ({"architecture": "auformer_vit_tiny_patch16_32"}, "--set architecture: is decided by the model"),
        ({"validation": 0.2}, "chooses no epoch"),
        ({"remember": 0.0}, "--set remember: must be above 0"),
    ):
        with pytest.raises(UsageError, match=words):
            adapt(faces, dataclasses.replace(plan, recipe=dataclasses.replace(RECIPE, **change)))  # type: ignore[arg-type]
    subject = faces.rows.column_names.index("subject")
    seen = faces.rows.set_column(
        subject, "subject", pa.array(["stranger" if n < 12 else f"p{n // 12}" for n in range(96)])
    )
    with pytest.raises(UsageError, match="tiny: has seen stranger"):
        adapt(
            dataclasses.replace(faces, rows=seen),
            dataclasses.replace(plan, recipe=dataclasses.replace(RECIPE, epochs=1)),
        )


# The whole way


@pytest.mark.slow
@pytest.mark.weights
def test_the_command_makes_a_model_that_detects(faces: FacePictures, start: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = [
        "finetune",
        "--data",
        faces.folder,
        "--model",
        start,
        "-o",
        out,
        "--folds",
        "2",
        "--epochs",
        "2",
        "--threads",
        "1",
    ]
    done = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[-1].startswith("AUC 0.")
    assert "adapted.onnx: " in done.stdout
    card = ModelCard.read((out / ADAPTED).with_suffix(".json"))
    assert card.name == "auformer_vit_tiny_patch16_48.adapted"
    assert card.aus == (4, 12)
    assert "8 people (lit)" in card.trained_on
    assert set(card.parameters) == {"learned", "all"}
    assert "gain in mean AUC" in card.measured
    assert json.loads((out / "finetune.json").read_text())["sentence"] in card.limits
    assert (out / "report.md").read_text().startswith(f"# {start}, adapted to lit")
    Detector(out / ADAPTED).detect(np.zeros((64, 64, 3), np.uint8))

    # Adapted once more, to strangers who are labelled for AU 4 only: AU 12 keeps what it says, and its threshold.
    stated = read_calibration(out / ADAPTED)
    assert stated is not None
    assert stated[0] == (4, 12)
    names = [f"other{number // 12}" for number in range(96)]
    others = with_labels(faces, AU12=[None] * 96)
    others = dataclasses.replace(
        others, rows=others.rows.set_column(others.rows.column_names.index("subject"), "subject", pa.array(names))
    )
    once = dataclasses.replace(RECIPE, epochs=1)
    again = adapt(others, Plan("mine", (out / ADAPTED).with_suffix(".safetensors"), tmp_path / "b", once, folds=0))
    assert again.aus == (4, 12)
    assert again.calibration.occurrence[1] == stated[1].occurrence[1]
    assert again.calibration.neutral_occurrence[1] == stated[1].neutral_occurrence[1]
    assert again.calibration.occurrence[0] != stated[1].occurrence[0]


@pytest.mark.weights
def test_pictures_and_a_table_are_prepared(tmp_path: Path) -> None:
    root = folder_tree.make(tmp_path / "tree")
    prepared = _prepared(root, root / "labels.csv", tmp_path / "out")
    assert prepared == tmp_path / "out" / "data"
    material = gather(FacePictures.open(prepared), tiny_auformer.AUS, "tiny")
    assert (material.taught, material.strange, material.names) == (
        (12,), (1,), ["folder:ann", "folder:bob", "folder:still0", "folder:still1"],
    )  # fmt: skip
    assert material.kept == {4: (0, 0), 25: (0, 0)}


def test_a_table_elsewhere_is_refused(tmp_path: Path, faces: FacePictures) -> None:
    assert _prepared(faces.folder, None, tmp_path / "out") == faces.folder
    with pytest.raises(UsageError, match="must lie in"):
        _prepared(tmp_path / "pictures", tmp_path / "labels.csv", tmp_path / "out")
