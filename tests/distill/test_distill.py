"""Peers, teachers and what is taught, against formulas and properties; and a run with peers from training to the exported file."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch
from feature_stores import make_store
from held_out_training import train_held_out
from torch import Tensor, nn

from openau.distill.losses import binary_kl, relation, similarity
from openau.distill.peers import Peers, Said
from openau.distill.settings import Distillation
from openau.distill.teachers import AttentionTeacher, GatedTeacher, MeanTeacher
from openau.evaluation.metrics import calibration_error
from openau.faces import features
from openau.models.fantrans import AUOutput, FANTrans, FANTransConfig, build
from openau.training.au_file import Facts
from openau.training.calibrate import AffineMap, Calibration
from openau.training.checkpoint import BEST, LAST, load_checkpoint
from openau.training.export import export
from openau.training.features import FeatureStore
from openau.training.module import AUModule
from openau.training.recipes import FANTRANS, Recipe

AUS, SIDED = (1, 4, 12), (4, 12)
TAUGHT = replace(FANTRANS, epochs=2, chunks=2, distillation=Distillation(peers=2, feature_weight=0.5))


def member(seed: int, **options: object) -> FANTrans:
    torch.manual_seed(seed)
    points = features.POINTS.tolist()
    return build(FANTransConfig.create(AUS, AUS, SIDED, points, 24, features.GEOMETRY_SIZE, **options))


def faces(count: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    shapes = ((count, features.GEOMETRY_SIZE), (count, len(features.POINTS), 24))
    geometry, columns = (torch.randn(shape, generator=generator) for shape in shapes)
    return geometry, columns


def peers(count: int = 3, settings: Distillation | None = None, **options: object) -> Peers:
    return Peers([member(seed, **options) for seed in range(count)], settings or Distillation(peers=count))


# Losses ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_binary_kl_and_its_gradient_by_hand(temperature: float) -> None:
    logits = torch.tensor([[0.3, -2.0], [4.0, 1.0]], requires_grad=True)
    taught = torch.tensor([[1.3, -1.0], [-2.0, 1.0]], requires_grad=True)
    p = 1 / (1 + np.exp(-taught.detach().double().numpy() / temperature))
    q = 1 / (1 + np.exp(-logits.detach().double().numpy() / temperature))
    loss = binary_kl(logits, taught, temperature)
    expected = temperature**2 * np.mean(p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q)))
    assert loss.item() == pytest.approx(expected, abs=1e-6)
    loss.backward()
    np.testing.assert_allclose(logits.grad, temperature * (q - p) / 4, atol=1e-6)
    assert taught.grad is None
    assert binary_kl(taught, taught, temperature).item() == pytest.approx(0, abs=1e-6)


def test_relations_do_not_depend_on_the_axes_of_the_features() -> None:
    torch.manual_seed(0)
    tokens = torch.randn(4, 5, 8)
    turn, _ = torch.linalg.qr(torch.randn(8, 8))
    torch.testing.assert_close(similarity(tokens @ turn), similarity(tokens))
    assert relation(2 * tokens @ turn, similarity(tokens)).item() == pytest.approx(0, abs=1e-10)
    assert relation(torch.randn(4, 5, 8), similarity(tokens)).item() > 0.05


# Settings -------------------------------------------------------------------------------------------------------------


def test_the_ramp_rises_to_one_and_stays() -> None:
    settings = Distillation(peers=2, ramp_up=0.4)
    assert settings.ramp(0) == pytest.approx(math.exp(-5))
    assert settings.ramp(0.2) == pytest.approx(math.exp(-1.25))
    assert settings.ramp(0.4) == settings.ramp(1) == 1
    assert Distillation(ramp_up=0).ramp(0) == 1


@pytest.mark.parametrize(
    "wrong",
    [{"peers": 0}, {"peers": 2, "teacher": "attention"}, {"temperature": 0}, {"logit_weight": -1}, {"ramp_up": 2}],
    ids=str,
)
def test_impossible_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"peers|temperature|must"):
        Distillation(**wrong)


# Teachers -------------------------------------------------------------------------------------------------------------


def test_the_gate_starts_as_the_mean_and_its_shares_sum_to_one() -> None:
    torch.manual_seed(1)
    logits, tokens = torch.randn(3, 4, 5), torch.randn(3, 4, 3, 8)
    gate = GatedTeacher(3, [0, 1, 2, 1, 1], 8)
    torch.testing.assert_close(gate(logits, tokens), MeanTeacher()(logits, tokens))
    nn.init.normal_(gate.gate.weight)
    shares = gate.weights(tokens)
    torch.testing.assert_close(shares.sum(dim=0), torch.ones(4, 3))
    taught = gate(logits, tokens)
    by_hand = sum(shares[k, 2, 1] * logits[k, 2, 3] for k in range(3))
    torch.testing.assert_close(taught[:, 2, 3], by_hand.expand(3))


def test_only_the_gate_learns_from_the_ensembles_loss() -> None:
    together = peers(3, Distillation(peers=3))
    nn.init.normal_(together.teacher.gate.weight)
    lessons = together.teach(together(*faces(6)))
    lessons.ensemble.occurrence.square().sum().backward()
    assert together.teacher.gate.weight.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in together.members.parameters())


def test_a_gate_learns_whom_to_believe() -> None:
    """Peer 0 knows AU 1, peer 1 knows AU 4: after training the gate listens to whoever knows."""
    torch.manual_seed(0)
    truth = (torch.rand(256, 2) < 0.5).float()
    knows = 4 * truth - 2
    noise = 2 * torch.randn(2, 256)
    logits = torch.stack([torch.stack([knows[:, 0], noise[0]], 1), torch.stack([noise[1], knows[:, 1]], 1)])
    tokens = torch.eye(2).expand(2, 256, 2, 2)
    gate = GatedTeacher(2, [0, 1], 2)
    optimizer = torch.optim.Adam(gate.parameters(), 0.05)
    for _ in range(150):
        loss = nn.functional.binary_cross_entropy_with_logits(gate(logits, tokens)[0], truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    shares = gate.weights(tokens).mean(dim=1)
    assert shares[0, 0] > 0.8
    assert shares[1, 1] > 0.8


def test_the_leader_learns_from_the_others_and_teaches_nobody() -> None:
    torch.manual_seed(2)
    logits, tokens = torch.randn(4, 6, 5), torch.randn(4, 6, 3, 8)
    attention = AttentionTeacher(8)
    taught = attention(logits, tokens)
    torch.testing.assert_close(taught[0], logits[1:].mean(dim=0))
    shares = attention.weights(tokens)
    torch.testing.assert_close(shares.sum(dim=-1), torch.ones(6, 3))
    torch.testing.assert_close(taught[2, 4], shares[4, 1] @ logits[1:, 4])
    other = logits.clone()
    other[0] += 10
    torch.testing.assert_close(attention(other, tokens), taught)


# Peers ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"geometry": "none"}, {"hypercolumns": False}, {"geometry": "late"}], ids=str)
def test_peers_run_as_one_computation_say_what_each_says_alone(options: dict[str, object]) -> None:
    together = peers(3, **options).eval()
    inputs = faces(5)
    said = together(*inputs)
    for one, model in zip(said, together.members, strict=True):
        output, tokens = model.judge(*inputs)
        for a, b in zip((*one.output, one.tokens), (*output, tokens), strict=True):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(said[0].output.occurrence, said[1].output.occurrence, atol=0.01)


class Linear(nn.Module):
    """Another kind of AU model: a linear map, with its inputs as tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.config = FANTransConfig.create(
            (1, 4), (), (), features.POINTS.tolist(), 24, features.GEOMETRY_SIZE, token_width=8
        )
        self.map = nn.Linear(16, 2)

    def judge(self, inputs: Tensor) -> tuple[AUOutput, Tensor]:
        nothing = inputs.new_zeros((len(inputs), 0))
        return AUOutput(self.map(inputs), nothing, nothing, nothing), inputs.unflatten(1, (2, 8))


@pytest.mark.parametrize("kind", ["mean", "gated", "attention"])
def test_any_model_can_be_a_peer_and_the_teacher_is_better_calibrated(kind: str) -> None:
    """Peers that overfit noisy labels of few faces are too sure of themselves; what they say together is less so, on new faces."""
    torch.manual_seed(3)
    direction = torch.randn(16, 2)

    def draw(count: int) -> tuple[Tensor, Tensor]:
        inputs = torch.randn(count, 16)
        return inputs, (torch.rand(count, 2) < torch.sigmoid(inputs @ direction / 2)).float()

    members = [Linear() for _ in range(4)]
    together = Peers(members, Distillation(peers=4, teacher=kind))
    inputs, truth = draw(60)
    optimizer = torch.optim.Adam(together.parameters(), 0.05)
    seen = [torch.randint(0, 60, (60,)) for _ in members]  # a bootstrap sample each: peers that differ
    for _ in range(150):
        own = sum(
            nn.functional.binary_cross_entropy_with_logits(m.map(inputs[s]), truth[s])
            for m, s in zip(members, seen, strict=True)
        )
        ensemble = together.teach(together(inputs)).ensemble.occurrence
        loss = own + nn.functional.binary_cross_entropy_with_logits(ensemble, truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    inputs, truth = draw(4000)
    with torch.no_grad():
        said = together(inputs)
        taught = together.teach(said).ensemble.occurrence

    def error(logits: Tensor) -> float:
        chance, coded = torch.sigmoid(logits).numpy(), truth.numpy()
        return float(np.mean([calibration_error(chance[:, a], coded[:, a]) for a in range(2)]))

    assert error(taught) < np.mean([error(one.output.occurrence) for one in said])


def test_as_many_members_as_settings_say() -> None:
    with pytest.raises(ValueError, match="3 peers are asked for, 2 given"):
        Peers([member(0), member(1)], Distillation(peers=3))


def test_lessons_pull_the_peers_together() -> None:
    together = peers(3, Distillation(peers=3, feature_weight=1.0))
    inputs = faces(16)
    optimizer = torch.optim.AdamW(together.members.parameters(), 1e-3)

    def apart() -> float:
        together.eval()
        with torch.no_grad():
            logits = torch.stack([one.output.occurrence for one in together(*inputs)])
        together.train()
        return float(logits.std(dim=0).mean())

    before = apart()
    for _ in range(25):
        losses = together.teach(together(*inputs)).losses
        assert set(losses) == {"taught", "taught_intensity", "taught_features"}
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    assert apart() < 0.6 * before


# A run ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    return make_store(tmp_path_factory.mktemp("taught") / "store", subjects=10, images=16, seed=3)


@pytest.fixture(scope="module")
def trained(store: FeatureStore, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, AUModule]:
    kept: list[AUModule] = []
    original = AUModule.on_train_epoch_start

    def watched(self: AUModule) -> None:
        kept[:] = [self]
        original(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AUModule, "on_train_epoch_start", watched)
        run = train_held_out(store, tmp_path_factory.mktemp("run") / "run", replace(TAUGHT, keep_best=False)).run
    return run, kept[0]


def test_peers_differ_and_the_leader_is_what_is_kept(trained: tuple[Path, AUModule]) -> None:
    run, module = trained
    assert module.peers is not None
    first, second = module.peers.members
    assert any(not torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    kept = load_checkpoint(run / BEST)
    for name, tensor in kept.model.state_dict().items():
        assert torch.equal(tensor, first.state_dict()[name]), name
    assert kept.provenance.recipe.distillation == TAUGHT.distillation
    state = load_checkpoint(run / LAST).state
    assert state is not None
    assert set(state.weights) == set(module.peers.state_dict())


def test_the_exported_file_is_the_leader(trained: tuple[Path, AUModule], store: FeatureStore, tmp_path: Path) -> None:
    run, module = trained
    plain = Calibration((AffineMap(1, 0),) * 6, (AffineMap(1, 0),) * 2, (0.0,) * 6, (0.0,) * 2)
    facts = Facts("fantrans_facemesh.taught", "look-alike features", "two epochs with peers", "is a test")
    done = export([load_checkpoint(run / BEST).model], plain, store, tmp_path / "taught.onnx", facts, half=False)
    rows = np.flatnonzero(store.ok[:, 0])[:9]
    inputs = np.array(store.geometry[rows, 0]), np.array(store.hypercolumns[rows, 0], np.float32)
    session = ort.InferenceSession(str(done.file), providers=["CPUExecutionProvider"])
    given = session.run(
        ["occurrence", "intensity", "left", "right"], dict(zip(("geometry", "hypercolumns"), inputs, strict=True))
    )
    assert module.peers is not None
    with torch.no_grad():
        said: Said = module.peers.eval()(*map(torch.from_numpy, inputs))[0]
    for a, b in zip(given, said.output, strict=True):
        np.testing.assert_allclose(a, b.numpy(), atol=1e-4)


@pytest.mark.parametrize("ema", [None, 0.7])
def test_a_run_with_peers_that_is_stopped_comes_to_the_same_digits(
    store: FeatureStore, tmp_path: Path, ema: float | None
) -> None:
    recipe: Recipe = replace(TAUGHT, epochs=3, ema=ema)

    def stop(progress: object) -> None:
        if progress.epoch == 3:  # type: ignore[attr-defined]
            raise InterruptedError

    whole = train_held_out(store, tmp_path / "whole", recipe)
    with pytest.raises(InterruptedError):
        train_held_out(store, tmp_path / "stopped", recipe, report=stop)
    stopped = train_held_out(store, tmp_path / "stopped", recipe, resume=True)
    for name in (BEST, LAST):
        a, b = (load_checkpoint(run / name) for run in (whole.run, stopped.run))
        assert all(
            torch.equal(x, y) for x, y in zip(a.model.state_dict().values(), b.model.state_dict().values(), strict=True)
        )
    assert a.state is not None
    assert b.state is not None
    assert all(torch.equal(a.state.weights[key], b.state.weights[key]) for key in a.state.weights)


def test_without_peers_nothing_of_it_remains(store: FeatureStore, tmp_path: Path) -> None:
    """One peer is training as ever: no lessons, no peers in the checkpoint."""
    run = train_held_out(store, tmp_path / "alone", replace(FANTRANS, epochs=1, chunks=2)).run
    state = load_checkpoint(run / LAST).state
    assert state is not None
    assert not state.weights
    assert "taught" not in (run / "metrics.csv").read_text()
