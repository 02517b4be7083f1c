from pathlib import Path

import pytest
import torch

from openau.faces import features
from openau.facs import AUS
from openau.models.attention_drop import AttentionDrop
from openau.models.fantrans import AUOutput, Ensemble, FANTrans, FANTransConfig, build
from openau.models.regions import BANDS, regions_of

ALL = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 16, 17, 18, 20, 22, 23, 24, 25, 26, 27, 28, 43)
SIDED = (2, 12)
LANDMARKS = features.POINTS.tolist()
VARIANTS = (
    {}, {"geometry": "late"}, {"geometry": "none"}, {"hypercolumns": False}, {"attention_drop": False}, {"depth": 0}, {"rank": 0},
)  # fmt: skip


def config(aus: tuple[int, ...] = (1, 4, 6, 12, 25), **options: object) -> FANTransConfig:
    return FANTransConfig.create(
        aus, aus[:3], [n for n in SIDED if n in aus], LANDMARKS, 224, features.GEOMETRY_SIZE, **options
    )


def model(seed: int = 0, **options: object) -> FANTrans:
    torch.manual_seed(seed)
    return build(config(**options))


def inputs(batch: int, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = ((batch, features.GEOMETRY_SIZE), (batch, len(LANDMARKS), 224))
    geometry, hypercolumns = (torch.randn(shape, generator=generator) for shape in shapes)
    return geometry, hypercolumns


def total(output: AUOutput) -> torch.Tensor:
    return sum((part * torch.arange(1, part.shape[1] + 1)).square().mean() for part in output if part.numel())


@pytest.mark.parametrize("options", VARIANTS, ids=str)
@pytest.mark.parametrize("batch", [1, 3])
def test_forward_and_backward(options: dict[str, object], batch: int) -> None:
    net = model(**options)
    output = net(*inputs(batch))
    assert [tuple(part.shape) for part in output] == [(batch, 5), (batch, 3), (batch, 1), (batch, 1)]
    assert ((output.intensity > 0) & (output.intensity < 5)).all()
    total(output).backward()
    without = [name for name, parameter in net.named_parameters() if parameter.grad is None or not parameter.grad.any()]
    assert without == []


def test_every_face_is_judged_alone() -> None:
    net = model().eval()
    geometry, hypercolumns = inputs(4)
    together = net(geometry, hypercolumns)
    alone = net(geometry[2:3], hypercolumns[2:3])
    for a, b in zip(together, alone, strict=True):
        torch.testing.assert_close(a[2:3], b, atol=1e-5, rtol=1e-5)


def test_statistics_and_buffers_are_no_parameters() -> None:
    net = model()
    trained = {name for name, parameter in net.named_parameters() if parameter.requires_grad}
    assert not any("mean" in name or "std" in name or "index" in name for name in trained)
    before = {name: buffer.clone() for name, buffer in net.named_buffers()}
    optimizer = torch.optim.AdamW(net.parameters(), 0.1)
    total(net(*inputs(4))).backward()
    optimizer.step()
    assert all(torch.equal(before[name], buffer) for name, buffer in net.named_buffers())


def test_small_and_default_size() -> None:
    full = FANTransConfig.create(ALL, ALL, (2, 4, 6, 7, 10, 12, 14, 15), LANDMARKS, 224, features.GEOMETRY_SIZE)
    assert sum(parameter.numel() for parameter in build(full).parameters()) <= 1_000_000


def test_standardisation_is_what_it_says() -> None:
    """Standardising inside equals standardising outside, and folding it into the weights changes nothing."""
    net = model().eval()
    geometry, hypercolumns = inputs(5)
    statistics = (
        torch.randn(features.GEOMETRY_SIZE),
        torch.rand(features.GEOMETRY_SIZE) + 0.5,
        torch.randn(224),
        torch.rand(224) + 0.5,
    )
    outside = net((geometry - statistics[0]) / statistics[1], (hypercolumns - statistics[2]) / statistics[3])
    net.set_statistics(*statistics)
    inside = net(geometry, hypercolumns)
    net.fold_standardisation()
    folded = net(geometry, hypercolumns)
    for a, b, c in zip(outside, inside, folded, strict=True):
        torch.testing.assert_close(a, b, atol=2e-5, rtol=1e-4)
        torch.testing.assert_close(b, c, atol=2e-5, rtol=1e-4)


def test_an_au_sees_only_its_region_before_the_transformer_and_all_regions_after_it() -> None:
    aus = (1, 12)
    geometry, hypercolumns = inputs(1)
    region, other = regions_of(aus, LANDMARKS)
    outside = next(i for i in other.points if i not in region.points)

    def sensitivity(depth: int) -> torch.Tensor:
        net = model(aus=aus, depth=depth, geometry="none").eval()
        columns = hypercolumns.clone().requires_grad_()
        _, tokens = net.judge(geometry, columns)
        (gradient,) = torch.autograd.grad(tokens[0, 0].square().sum(), columns)
        return gradient[0].abs().sum(dim=-1)

    assert sensitivity(0)[outside] == 0
    assert (sensitivity(0)[list(region.points)] > 0).all()
    assert sensitivity(2)[outside] > 0


@pytest.mark.parametrize(("depth", "rank", "reaches"), [(0, 0, False), (0, 8, True), (1, 0, True)])
def test_what_lets_an_au_hear_of_another_can_be_switched_off(depth: int, rank: int, reaches: bool) -> None:
    """Without transformer and without the classifier over all AUs, a verdict on AU 12 knows nothing of the brows."""
    aus = (1, 12)
    geometry, hypercolumns = inputs(1)
    brow, mouth = regions_of(aus, LANDMARKS)
    only_brow = sorted(set(brow.points) - set(mouth.points))
    net = model(aus=aus, depth=depth, rank=rank, geometry="none").eval()
    columns = hypercolumns.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(net(geometry, columns).occurrence[0, 1], columns)
    assert bool(gradient[0, only_brow].any()) is reaches


@pytest.mark.parametrize("options", [{"depth": -1}, {"rank": -1}], ids=str)
def test_negative_sizes_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        config(**options)


def test_outputs_stay_with_their_aus_whatever_their_order() -> None:
    """Regions group AUs; the outputs must come back in the order of `aus`: only AU 25's own token moves AU 25 when no AU listens."""
    net = model(aus=(25, 1, 12, 4), depth=0).eval()
    torch.nn.init.zeros_(net.classifier.spread.weight)
    geometry, hypercolumns = inputs(1)
    low = next(r for r in net.config.regions if 25 in r.aus)
    brow = next(r for r in net.config.regions if 1 in r.aus)
    changed = hypercolumns.clone()
    only_low = [i for i in low.points if i not in brow.points and LANDMARKS[i] in (17, 18, 200)]
    changed[:, only_low] += 3
    moved = (net(geometry, changed).occurrence - net(geometry, hypercolumns).occurrence)[0].abs() > 1e-6
    assert moved.tolist() == [True, False, True, False]


def test_landmark_drop_and_gates_are_off_at_inference() -> None:
    net = model()
    noisy = [net(*inputs(2)).occurrence for _ in range(2)]
    assert not torch.equal(*noisy)
    net.eval()
    quiet = [net(*inputs(2)).occurrence for _ in range(2)]
    assert torch.equal(*quiet)


def test_ensemble_is_the_mean_of_its_heads() -> None:
    heads = [model(0).eval(), model(1, geometry="late").eval(), model(2, hypercolumns=False).eval()]
    together = Ensemble(heads)(*inputs(3))
    for place, part in enumerate(together):
        torch.testing.assert_close(part, sum(head(*inputs(3))[place] for head in heads) / 3)
    with pytest.raises(ValueError, match="same AUs"):
        Ensemble([model(), model(aus=(1, 4, 6, 12))])
    with pytest.raises(ValueError, match="at least one head"):
        Ensemble([])


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_configuration_survives_json(options: dict[str, object]) -> None:
    assert FANTransConfig.from_json(config(**options).to_json()) == config(**options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"heads": 5}, "heads"),
        ({"hypercolumns": False, "geometry": "late"}, "without hypercolumns"),
        ({"aus": (1, 1)}, "named once"),
    ],
)
def test_contradictions_are_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        config(**options)


def test_every_au_has_one_band_and_every_landmark_is_seen() -> None:
    banded = [number for band in BANDS for number in band.aus]
    assert sorted(banded) == sorted(AUS)
    regions = regions_of(tuple(AUS), LANDMARKS)
    assert {i for region in regions for i in region.points} == set(range(len(LANDMARKS)))
    names = {region.name: {LANDMARKS[i] for i in region.points} for region in regions}
    assert {105, 334, 107} <= names["brow"]
    assert not {61, 17, 152} & names["brow"]  # no mouth, no chin
    assert {145, 374, 159} <= names["eye"]
    assert {98, 327, 193} <= names["nose"]
    assert {61, 291, 205} <= names["mouth corner"]
    assert {13, 14, 17, 152} <= names["lips and chin"]
    assert not {105, 159, 145} & (names["mouth corner"] | names["lips and chin"])


def test_bands_are_symmetric() -> None:
    mirror = features.mirror()
    for region in regions_of(ALL, LANDMARKS):
        ids = {LANDMARKS[i] for i in region.points}
        assert {int(mirror[i]) for i in ids} == ids


class TestAttentionDrop:
    def drop(self, **options: object) -> AttentionDrop:
        torch.manual_seed(0)
        drop = AttentionDrop(2, 3, **options)
        drop.keep_logit.data = torch.randn(2, 3, 3) * 2
        return drop

    def test_mean_gate_is_the_mean_of_sampled_gates(self) -> None:
        for temperature in (0.3, 2 / 3, 1.5):
            drop = self.drop(temperature=temperature, keep_self=False)
            sampled = drop.sample_gates(40_000)
            assert sampled.min() >= 0
            assert sampled.max() <= 1
            torch.testing.assert_close(sampled.mean(0), drop.mean_gate(), atol=0.01, rtol=0)

    def test_settled_gates_are_the_mean_gates(self) -> None:
        drop = AttentionDrop(2, 3).eval()
        torch.nn.init.normal_(drop.keep_logit)
        attention = torch.softmax(torch.randn(4, 2, 3, 3), dim=-1)
        before, gates = drop(attention), drop.mean_gate()
        drop.settle()
        torch.nn.init.normal_(drop.keep_logit)  # no longer asked
        assert torch.equal(drop(attention), before)
        assert torch.equal(drop.mean_gate(), gates)
        assert list(drop.state_dict()) == ["keep_logit"]

    def test_keep_probability_is_how_often_a_gate_is_more_open_than_shut(self) -> None:
        drop = self.drop(keep_self=False)
        often = (drop.sample_gates(40_000) > 0.5).float().mean(0)
        torch.testing.assert_close(often, drop.keep_probability(), atol=0.01, rtol=0)

    def test_rows_still_sum_to_one_and_self_is_kept(self) -> None:
        drop = self.drop()
        attention = torch.softmax(torch.randn(5, 2, 3, 3), -1)
        for mode in (True, False):
            drop.train(mode)
            torch.testing.assert_close(drop(attention).sum(-1), torch.ones(5, 2, 3), atol=1e-4, rtol=0)
        diagonal = drop.sample_gates(10).diagonal(dim1=-2, dim2=-1)
        assert torch.equal(diagonal, torch.ones_like(diagonal))

    def test_closed_gates_cut_the_link(self) -> None:
        drop = self.drop()
        drop.keep_logit.data.fill_(-40)
        attention = torch.softmax(torch.randn(5, 2, 3, 3), -1)
        torch.testing.assert_close(drop.eval()(attention), torch.eye(3).expand(5, 2, 3, 3), atol=1e-3, rtol=0)

    def test_it_learns_to_cut_a_harmful_link(self) -> None:
        """Token 0 carries the answer, token 1 only noise: the gate 0 → 1 must close, 1 → 0 must stay open."""
        torch.manual_seed(0)
        drop = AttentionDrop(1, 2)
        optimizer = torch.optim.Adam(drop.parameters(), 0.05)
        attention = torch.full((256, 1, 2, 2), 0.5)
        for _ in range(150):
            answer, noise = torch.randn(256), torch.randn(256)
            mixed = (drop(attention) @ torch.stack([answer, noise], -1)[:, None, :, None])[:, 0, :, 0]
            loss = (mixed - answer[:, None]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        keep = drop.keep_probability()[0]
        assert keep[0, 1] < 0.2
        assert keep[1, 0] > 0.8


def test_models_import_no_training_code() -> None:
    source = Path(__file__).parents[2] / "src/openau/models"
    for file in source.glob("*.py"):
        text = file.read_text()
        assert "openau.training" not in text
        assert "openau.datasets" not in text
