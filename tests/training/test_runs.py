"""What a run can do beside learning: average weights, accumulate, stop early, go on, use several processes; and what its folder tells."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from feature_stores import make_store
from held_out_training import train_held_out
from PIL import Image

from openau.errors import InputError, MissingExtraError, UsageError
from openau.training.checkpoint import BEST, LAST, load_checkpoint
from openau.training.configuration import read_recipe
from openau.training.data import SubjectBatches, subject_numbers
from openau.training.features import FeatureStore
from openau.training.judge import load_team
from openau.training.module import AUModule
from openau.training.recipes import FANTRANS
from openau.training.record import CONFIG, CURVES, ENVIRONMENT, EVENTS, METRICS, git_state

QUIET = {"dropout": 0.0, "token_dropout": 0.0, "landmark_drop": 0.0, "attention_drop": False}
"""A model that draws nothing at random."""

EXACT = replace(
    FANTRANS, epochs=1, chunks=2, learning_rate=4e-3, model=QUIET, geometry_noise=0.0, ranking_weight=0.0, heavy_share=0.0
)  # fmt: skip
"""A recipe in which a step depends on its faces alone."""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    """10 people with 16 pictures each."""
    return make_store(tmp_path_factory.mktemp("small") / "store", subjects=10, images=16, seed=3)


def weights(run: Path, name: str = BEST) -> dict[str, np.ndarray]:
    return {key: value.numpy() for key, value in load_checkpoint(run / name).model.state_dict().items()}


def difference(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> float:
    assert a.keys() == b.keys()
    return max(float(np.abs(a[name] - b[name]).max(initial=0)) for name in a)


def numbers(run: Path) -> list[dict[str, str]]:
    """The table without the seconds."""
    with (run / METRICS).open() as file:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)]


class StoppedError(Exception):
    pass


def test_accumulated_batches_are_one_large_batch(small: FeatureStore, tmp_path: Path) -> None:
    train_held_out(small, tmp_path / "large", replace(EXACT, chunks=4))
    train_held_out(small, tmp_path / "parts", replace(EXACT, chunks=2, accumulate=2))
    train_held_out(small, tmp_path / "small", replace(EXACT, chunks=2))
    large, parts, alone = (weights(tmp_path / name) for name in ("large", "parts", "small"))
    assert difference(large, parts) < 1e-4
    assert difference(large, alone) > 1e-3


def test_the_moving_average_by_hand(small: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[np.ndarray] = []
    original = AUModule.optimizer_step

    def watched(self: AUModule, *arguments: object, **named: object) -> None:
        original(self, *arguments, **named)
        steps.append(self.model.classifier.own.detach().numpy().copy())

    monkeypatch.setattr(AUModule, "optimizer_step", watched)
    train_held_out(small, tmp_path / "run", replace(FANTRANS, epochs=1, chunks=2, ema=0.8))
    average = steps[0]
    for later in steps[1:]:
        average = 0.8 * average + 0.2 * later
    assert len(steps) > 4
    np.testing.assert_allclose(weights(tmp_path / "run")["classifier.own"], average, atol=1e-6)
    assert np.abs(average - steps[-1]).max() > 1e-3
    state = load_checkpoint(tmp_path / "run" / LAST).state
    assert state is not None
    np.testing.assert_array_equal(state.weights["classifier.own"].numpy(), steps[-1])


def test_resuming_changes_no_digit_with_everything_switched_on(small: FeatureStore, tmp_path: Path) -> None:
    """Moving average, accumulation, and an early stop that is due after the interruption, whose count must survive it."""
    recipe = replace(FANTRANS, epochs=12, chunks=2, accumulate=2, ema=0.5, early_stopping=2, learning_rate=5e-2)
    train_held_out(small, tmp_path / "whole", recipe)
    done = len(numbers(tmp_path / "whole"))
    assert 3 <= done < 12

    def stop(progress: object) -> None:
        if progress.epoch == done and progress.step == 2:  # type: ignore[attr-defined]
            raise StoppedError

    with pytest.raises(StoppedError):
        train_held_out(small, tmp_path / "stopped", recipe, report=stop)
    assert len(numbers(tmp_path / "stopped")) == done - 1
    train_held_out(small, tmp_path / "stopped", recipe, resume=True)
    assert numbers(tmp_path / "stopped") == numbers(tmp_path / "whole")
    for name in (BEST, LAST):
        assert difference(weights(tmp_path / "stopped", name), weights(tmp_path / "whole", name)) == 0
        found, wanted = (load_checkpoint(tmp_path / run / name).provenance for run in ("stopped", "whole"))
        assert found == wanted
    before = (tmp_path / "whole" / LAST).stat().st_mtime_ns
    train_held_out(small, tmp_path / "whole", recipe, resume=True)
    assert (tmp_path / "whole" / LAST).stat().st_mtime_ns == before
    assert len(json.loads((tmp_path / "stopped" / ENVIRONMENT).read_text())["starts"]) == 2


def test_a_stepwise_learning_rate_by_hand(small: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """AU-Net's: constant within each third of the epochs, times .3 from one to the next."""
    rates: list[float] = []
    original = AUModule.on_train_batch_start

    def watched(self: AUModule, batch: object, batch_idx: int) -> None:
        original(self, batch, batch_idx)
        rates.append(self.optimizers(use_pl_optimizer=False).param_groups[0]["lr"])

    monkeypatch.setattr(AUModule, "on_train_batch_start", watched)
    train_held_out(small, tmp_path / "run", replace(FANTRANS, epochs=6, chunks=2, schedule="steps", learning_rate=1e-3))
    epochs = np.reshape(rates, (6, -1))
    expected = [1e-3, 1e-3, 3e-4, 3e-4, 9e-5, 9e-5]
    np.testing.assert_allclose(epochs[:, 0], expected)
    np.testing.assert_allclose(epochs[:, 0], epochs[:, -2])


def test_keep_probabilities_learn_at_their_own_pace_and_are_not_pulled_to_one_half(
    small: FeatureStore, tmp_path: Path
) -> None:
    """With a pace of next to nothing they stay where they start, decay or not; at 50 they leave, at 1 hardly."""
    quick = replace(FANTRANS, epochs=4, chunks=2, weight_decay=0.5, keep_best=False)

    def moved(pace: float) -> float:
        run = train_held_out(small, tmp_path / f"{pace}", replace(quick, drop_pace=pace)).run
        found = [values for name, values in weights(run).items() if name.endswith("keep_logit")]
        return float(np.abs(np.stack(found) - np.log(9)).mean())

    assert moved(1e-9) < 1e-5
    assert moved(50.0) > 5 * moved(1.0)


def test_a_run_that_starts_from_another_begins_where_that_one_ended(small: FeatureStore, tmp_path: Path) -> None:
    """With a learning rate of next to nothing, what was started from is what comes out; nobody whom it saw may be tested."""
    first = train_held_out(small, tmp_path / "first", replace(FANTRANS, epochs=3, chunks=2))
    still = replace(FANTRANS, epochs=1, chunks=2, learning_rate=1e-12)
    again = train_held_out(small, tmp_path / "again", still, start=first.checkpoint)
    assert difference(weights(again.run), weights(first.run)) < 1e-6
    fresh = train_held_out(small, tmp_path / "fresh", still)
    assert difference(weights(fresh.run), weights(first.run)) > 0.01
    assert json.loads((again.run / ENVIRONMENT).read_text())["options"]["start"] == BEST
    fewer = train_held_out(small, tmp_path / "fewer", replace(still, aus=(12, 25)), start=first.checkpoint)
    own = weights(fewer.run)["classifier.own"][0]  # AU 12 is the fourth of the first model's AUs
    np.testing.assert_allclose(own, weights(first.run)["classifier.own"][3], atol=1e-6)
    with pytest.raises(UsageError, match="who is tested here"):
        train_held_out(small, tmp_path / "leak", still, hold_out="fold=1", start=first.checkpoint)
    with pytest.raises(UsageError, match="does not fit"):
        train_held_out(small, tmp_path / "odd", replace(still, model={"token_width": 32}), start=first.checkpoint)


def test_early_stopping_waits_as_long_as_it_should(small: FeatureStore, tmp_path: Path) -> None:
    recipe = replace(FANTRANS, epochs=14, chunks=2, early_stopping=2, learning_rate=2e-2)
    train_held_out(small, tmp_path / "run", recipe)
    aucs = [float(row["auc"]) for row in numbers(tmp_path / "run")]
    best = int(np.argmax(aucs)) + 1
    assert len(aucs) == min(14, best + 2)
    assert load_checkpoint(tmp_path / "run" / BEST).provenance.epoch == best


def test_choosing_on_the_test_part_is_carried_to_every_table(small: FeatureStore, tmp_path: Path) -> None:
    """The chosen epoch's score is that of the test part, and the checkpoint says so; otherwise the test part is never read."""
    recipe = replace(FANTRANS, epochs=3, chunks=2)
    honest = train_held_out(small, tmp_path / "honest", recipe)
    selected = train_held_out(small, tmp_path / "selected", recipe, selection="test-selected")
    assert difference(weights(honest.run, LAST), weights(selected.run, LAST)) == 0  # only the choice differs
    assert [row["auc"] for row in numbers(honest.run)] != [row["auc"] for row in numbers(selected.run)]
    assert load_team([honest.run]).selection == "validation"
    assert load_team([honest.run, selected.run]).selection == "test-selected"
    assert json.loads((selected.run / ENVIRONMENT).read_text())["options"]["selection"] == "test-selected"
    with pytest.raises(UsageError, match="another recipe, seed or data"):
        train_held_out(small, tmp_path / "selected", recipe, resume=True)


def test_half_precision_learns_and_sixteen_bits_need_a_gpu(small: FeatureStore, tmp_path: Path) -> None:
    recipe = replace(FANTRANS, epochs=8, chunks=2, learning_rate=4e-3, precision="bf16-mixed")
    half = train_held_out(small, tmp_path / "half", recipe)
    assert half.score > 0.8
    assert all(value.dtype == np.float32 for value in weights(half.run).values() if value.dtype.kind == "f")
    with pytest.raises(UsageError, match="16-mixed needs a GPU"):
        train_held_out(small, tmp_path / "sixteen", replace(recipe, precision="16-mixed"))


def test_a_run_describes_itself(small: FeatureStore, tmp_path: Path) -> None:
    recipe = replace(FANTRANS, epochs=2, chunks=2, aus=(1, 12))
    run = train_held_out(small, tmp_path / "run", recipe, "fold=2", seed=5)
    assert read_recipe(str(run.run / CONFIG)) == recipe
    assert yaml.safe_load((run.run / CONFIG).read_text())["model"]["depth"] == 2
    told = json.loads((run.run / ENVIRONMENT).read_text())
    assert told["options"] == {
        "split": "fold=2", "selection": "validation", "seed": 5, "threads": 1, "device": "cpu", "devices": 1,
    }  # fmt: skip
    digest = hashlib.sha256((small.folder / "rows.parquet").read_bytes()).hexdigest()
    assert [part["rows_sha256"] for part in told["data"]] == [digest]
    subject = np.array(small.rows["subject"].to_pylist())
    for name in ("train", "validation", "test"):
        rows = getattr(run.split, name)
        assert told["parts"][name] == {"faces": len(rows), "subjects": sorted(set(subject[rows].tolist()))}
    (start,) = told["starts"]
    assert (
        start["packages"]["torch"] == torch.__version__.partition("+")[0]
        or start["packages"]["torch"] == torch.__version__
    )
    assert start["command"] == sys.argv
    with Image.open(run.run / CURVES) as picture:
        assert picture.size[0] > 600


def test_tensorboards_events_hold_the_table(small: FeatureStore, tmp_path: Path) -> None:
    """Read back by the file's own format: length, check, event, check."""
    from tensorboardX.proto.event_pb2 import Event

    run = train_held_out(small, tmp_path / "run", replace(FANTRANS, epochs=3, chunks=2)).run
    found: dict[tuple[str, int], float] = {}
    for file in (run / EVENTS).glob("events.out.tfevents.*"):
        content = file.read_bytes()
        while content:
            length = int.from_bytes(content[:8], "little")
            event = Event.FromString(content[12 : 12 + length])
            found |= {(value.tag, event.step): value.simple_value for value in event.summary.value}
            content = content[16 + length :]
    for row in numbers(run):
        for name in ("occurrence", "auc"):
            assert found[name, int(row["epoch"])] == pytest.approx(float(row[name]), rel=1e-4)


def test_the_checkout_is_named_and_nothing_outside_of_one(tmp_path: Path) -> None:
    git = ["git", "-C", str(tmp_path), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    assert git_state(tmp_path) is None
    (tmp_path / "a").write_text("1")
    for command in (["init", "-q"], ["add", "a"], ["commit", "-qm", "one"]):
        subprocess.run([*git, *command], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert git_state(tmp_path) == {"commit": commit, "changed": False}
    (tmp_path / "a").write_text("2")
    assert git_state(tmp_path) == {"commit": commit, "changed": True}


def test_geometry_models_never_read_hypercolumns(small: FeatureStore, tmp_path: Path) -> None:
    recipe = replace(FANTRANS, epochs=1, chunks=2, model={"hypercolumns": False})
    sample = replace(small, hypercolumns=Unreadable(small.hypercolumns))  # type: ignore[arg-type]
    run = train_held_out(sample, tmp_path / "run", recipe)
    plain = train_held_out(small, tmp_path / "plain", recipe)
    assert difference(weights(run.run), weights(plain.run)) == 0
    with pytest.raises(AssertionError, match="hypercolumns were read"):
        train_held_out(sample, tmp_path / "full", replace(recipe, model={}))


class Unreadable:
    """Hypercolumns that may be read for the channels' statistics, once, and not again."""

    def __init__(self, array: np.ndarray) -> None:
        self._array, self._reads, self.shape = array, 0, array.shape

    def __getitem__(self, index: object) -> np.ndarray:
        self._reads += 1
        assert self._reads == 1, "hypercolumns were read"
        return self._array[index]


def test_a_hundred_frames_are_enough_and_seven_are_not(small: FeatureStore, tmp_path: Path) -> None:
    """Data efficiency: batches larger than the data, and subjects with fewer faces than a chunk."""
    from openau.training.run import train

    rng = np.random.default_rng(0)
    split = train_held_out(small, tmp_path / "whole", replace(FANTRANS, epochs=1)).split
    for count in (8, 100):
        few = replace(split, train=np.sort(rng.choice(split.train, count, replace=False)))
        sampler = SubjectBatches(few.train, subject_numbers(small), small.ok, FANTRANS, 0)
        seen: set[int] = set()
        for sampler.epoch in range(40):
            seen |= {int(row) for draw in sampler for row in draw.rows}
        assert seen == set(few.train.tolist())
        train(small, tmp_path / str(count), replace(FANTRANS, epochs=2), split=few, split_name=f"{count} frames")
    with pytest.raises(InputError, match="7 faces are left to train on, at least 8"):
        train(small, tmp_path / "7", FANTRANS, split=replace(split, train=split.train[:7]), split_name="7 frames")


def test_weights_and_biases_is_named_when_it_is_missing(small: FeatureStore, tmp_path: Path) -> None:
    recipe = replace(FANTRANS, epochs=1, chunks=2)
    try:
        import wandb  # noqa: F401
    except ImportError:
        with pytest.raises(MissingExtraError, match="pip install wandb"):
            train_held_out(small, tmp_path / "run", recipe, wandb=True)
    else:
        run = train_held_out(small, tmp_path / "run", recipe, wandb=True).run
        assert list((run / "wandb").glob("offline-run-*"))


# Several processes ----------------------------------------------------------------------------------------------------


def test_processes_share_every_batch(store: FeatureStore) -> None:
    rows = np.arange(6, 300)
    samplers = [SubjectBatches(rows, subject_numbers(store), store.ok, FANTRANS, 0) for _ in range(3)]
    samplers[1].share, samplers[2].share = (0, 2), (1, 2)
    for whole, first, second in zip(*samplers, strict=True):
        pairs = [set(zip(draw.rows.tolist(), draw.views.tolist(), strict=True)) for draw in (whole, first, second)]
        assert pairs[1] | pairs[2] == pairs[0]
        assert not pairs[1] & pairs[2]
        assert len(first.rows) == len(second.rows) == len(whole.rows) / 2


def test_batches_that_cannot_be_shared_are_told(small: FeatureStore, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="3 devices"):
        train_held_out(small, tmp_path / "run", replace(FANTRANS, chunks=4), devices=3)


SCRIPT = """
import sys
import numpy as np
from pathlib import Path
from held_out_training import train_held_out
from openau.training.features import FeatureStore
from openau.training.module import AUModule
from test_recipe import recipe

folder, devices = Path(sys.argv[1]), int(sys.argv[2])
seen, original = [], AUModule.training_step

def step(self, batch, number):
    seen.append(batch.geometry.sum(dim=1).numpy())
    return original(self, batch, number)

def end(self):
    state = {name: value.numpy() for name, value in self.model.state_dict().items()}
    np.savez(folder / f"process{self.global_rank}of{devices}.npz", seen=np.concatenate(seen), auc=self.scores["auc"], **state)

AUModule.training_step, AUModule.on_fit_end = step, end
train_held_out(FeatureStore.open(folder / "store"), folder / f"run{devices}", recipe(), devices=devices)
"""


@pytest.mark.slow
def test_two_processes_do_what_one_does(tmp_path: Path) -> None:
    """Real processes, gloo between them: same faces per step, same weights in both, and nearly those of a single process."""
    make_store(tmp_path / "store", subjects=10, images=16, seed=3)
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "test_recipe.py").write_text(f"""
from openau.training.recipes import Recipe
def recipe():
    return Recipe.from_json({replace(EXACT, epochs=3).to_json()!r})
""")
    support = Path(__file__).parents[1] / "support"
    environment = {**os.environ, "PYTHONPATH": f"{support}{os.pathsep}{tmp_path}"}
    for devices in (1, 2):
        command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path), str(devices)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
        assert done.returncode == 0, done.stderr
    (alone,), pair = (
        [dict(np.load(tmp_path / f"process{rank}of{devices}.npz")) for rank in range(devices)] for devices in (1, 2)
    )
    shares = [process.pop("seen") for process in pair]
    whole = alone.pop("seen")
    np.testing.assert_allclose(np.sort(np.concatenate(shares)), np.sort(whole))
    assert len(np.intersect1d(*(share[:8] for share in shares))) == 0  # their first batches
    assert difference(pair[0], pair[1]) == 0
    assert (
        difference(alone, pair[0]) < 5e-3
    )  # AdamW turns rounding of tiny gradients into steps; the weights moved 20 times as far
    first, second = (numbers(tmp_path / f"run{devices}") for devices in (1, 2))
    for one, two in zip(first, second, strict=True):
        assert float(two["occurrence"]) == pytest.approx(float(one["occurrence"]), rel=0.02)
        assert float(two["auc"]) == pytest.approx(float(one["auc"]), abs=0.01)
    assert float(second[-1]["occurrence"]) < 0.9 * float(second[0]["occurrence"])
    files = [path.name for path in (tmp_path / "run2").iterdir()]
    assert sorted(files) == sorted([BEST, LAST, CONFIG, ENVIRONMENT, METRICS, CURVES, EVENTS])
    assert len(list((tmp_path / "run2" / EVENTS).glob("events.*"))) == 1
    pair[0].pop("auc")
    assert difference(weights(tmp_path / "run2", LAST), pair[0]) == 0
