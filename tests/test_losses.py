"""Losses against formulas worked out by hand, the published curve, finite differences; what is unknown counts for nothing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from openau.losses import (
    AsymmetricLoss,
    MDWALoss,
    WeightedBCELoss,
    WeightedDiceLoss,
    difficulty_gammas,
    masked_bce,
    masked_huber,
    ranking,
    rates_of,
    weights_from_rates,
)

NAN = float("nan")
RATES = (0.5, 0.25, 0.1)
WEIGHTS = (6 / 16, 12 / 16, 30 / 16)  # 1/r = 2, 4, 10
Loss = Callable[[Tensor, Tensor], Tensor]

LOSSES: dict[str, Loss] = {
    "bce": masked_bce,
    "bce, weighted AUs": WeightedBCELoss(RATES),
    "bce, weighted positives": WeightedBCELoss(RATES, "positives"),
    "asl": AsymmetricLoss(),
    "asl, both factors": AsymmetricLoss(1, 2.5, 0),
    "mdwa": MDWALoss(RATES),
    "mdwa, per AU": MDWALoss(RATES, 0.1, [1, 1.5, 2]),
    "mdwa, no margin": MDWALoss(None, 0, 0.5),
    "dice": WeightedDiceLoss(RATES),
    "huber": masked_huber,
}
each_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())


def faces(batch: int = 6, seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Logits (batch, 3) and hard labels, all known."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn((batch, 3), generator=generator, dtype=dtype)
    return logits, (torch.rand((batch, 3), generator=generator) < 0.4).to(dtype)


def slope(loss: Loss, logits: Tensor, targets: Tensor) -> tuple[float, Tensor]:
    logits = logits.clone().requires_grad_()
    value = loss(logits, targets)
    return value.item(), torch.autograd.grad(value, logits)[0]


# By hand --------------------------------------------------------------------------------------------------------------


def test_bce_and_huber_by_hand() -> None:
    logits = torch.tensor([[0.0, 2.0], [-1.0, 5.0]])
    targets = torch.tensor([[1.0, 0.25], [NAN, NAN]])
    weight = torch.tensor([2.0, 3.0])
    p = 1 / (1 + np.exp(-2.0))
    expected = (-2 * np.log(0.5) - 3 * 0.25 * np.log(p) - 0.75 * np.log(1 - p)) / 2
    assert masked_bce(logits, targets, weight).item() == pytest.approx(expected, rel=1e-5)
    assert masked_huber(torch.tensor([[1.0, 4.0]]), torch.tensor([[1.5, NAN]])).item() == pytest.approx(0.125)
    assert masked_huber(torch.tensor([[1.0]]), torch.tensor([[4.0]])).item() == pytest.approx(2.5)


def test_ranking_by_hand() -> None:
    """Two chunks of two; only the first chunk's pair is of one subject and differs clearly."""
    logits = torch.tensor([[0.5], [2.0], [1.0], [0.0]], requires_grad=True)
    level = torch.tensor([[0.9], [0.2], [0.9], [0.1]])
    subject = torch.tensor([3, 3, 3, 4])
    loss = ranking(logits, level, subject, 2, 0.3)
    assert loss.item() == pytest.approx(np.log1p(np.exp(1.5)) / 2, rel=1e-5)  # one pair, divided by 1 + 1
    loss.backward()
    assert logits.grad is not None
    assert logits.grad[0] < 0 < logits.grad[1]  # the stronger face must rise
    assert not logits.grad[2:].any()
    level[0] = NAN
    assert ranking(logits, level, subject, 2, 0.3).item() == 0


def test_mdwa_by_hand() -> None:
    """p = 0.8 on a negative, 0.8 on a positive, 0.04 on a negative within the margin; w = 6/16, 12/16, 30/16."""
    logits = torch.tensor([[np.log(4), np.log(4), np.log(0.04 / 0.96)]])
    targets = torch.tensor([[0.0, 1.0, 0.0]])
    expected = -(6 / 16 * 0.75**1.5 * np.log(0.25) + 12 / 16 * np.log(0.8) + 0) / 3
    loss = MDWALoss(RATES, margin=0.05, gamma=[1.5, 1, 2])
    assert loss(logits, targets).item() == pytest.approx(expected, rel=1e-6)
    soft = torch.tensor([[0.3, NAN, NAN]])
    assert loss(logits, soft).item() == pytest.approx(
        -6 / 16 * (0.3 * np.log(0.8) + 0.7 * 0.75**1.5 * np.log(0.25)), rel=1e-6
    )


def test_mdwa_is_the_plain_mean_over_batch_and_aus_of_the_published_formula() -> None:
    z, y = (part.numpy() for part in faces())
    p = 1 / (1 + np.exp(-z))
    gamma, margin = np.array([1, 1.25, 2]), 0.1
    pm = np.maximum(p - margin, 0)
    terms = -np.array(WEIGHTS) * (y * np.log(p) + (1 - y) * pm**gamma * np.log(1 - pm))
    assert MDWALoss(RATES, margin, gamma)(*faces()).item() == pytest.approx(terms.mean(), rel=1e-6)


def test_mdwa_follows_the_published_curve() -> None:
    """|dL/dlogit| of a negative (AUFormer, figure 2): nothing below p = .05, most at .844, nothing again towards 1."""
    p = torch.linspace(0.001, 0.9999, 9990, dtype=torch.float64)
    z = torch.logit(p)[:, None]
    _, gradient = slope(MDWALoss([0.3], margin=0.05, gamma=1), z, torch.zeros_like(z))
    size = (gradient * len(z)).abs()[:, 0]
    assert not size[p < 0.0499].any()
    assert size.max().item() == pytest.approx(0.715, abs=0.001)
    assert p[size.argmax()].item() == pytest.approx(0.844, abs=0.001)
    assert size[-1] < 0.01
    pm = p - 0.05  # the derivative worked out by hand
    by_hand = p * (1 - p) * (pm / (1 - pm) - torch.log(1 - pm))
    assert torch.allclose(size[p > 0.05], by_hand[p > 0.05], rtol=1e-6, atol=1e-12)


def test_mdwa_without_margin_has_the_value_of_the_weighted_asymmetric_loss() -> None:
    """ME-GraphAU's: −w [ y log p + (1 − y) p log(1 − p) ]; as it detaches p, the gradients differ."""
    logits, targets = faces()
    p = torch.sigmoid(logits)
    terms = -torch.tensor(WEIGHTS) * (targets * p.log() + (1 - targets) * p * (1 - p).log())
    assert MDWALoss(RATES, margin=0, gamma=1)(logits, targets).item() == pytest.approx(terms.mean().item(), rel=1e-6)


@pytest.mark.parametrize(("positive", "negative", "clip"), [(0.0, 4.0, 0.05), (1.0, 4.0, 0.05), (2.0, 0.5, 0.0)])
def test_asymmetric_loss_by_formula(positive: float, negative: float, clip: float) -> None:
    z, y = (part.numpy() for part in faces())
    p = 1 / (1 + np.exp(-z))
    pm = np.maximum(p - clip, 0)
    terms = y * (1 - p) ** positive * np.log(p) + (1 - y) * pm**negative * np.log(1 - pm)
    assert AsymmetricLoss(positive, negative, clip)(*faces()).item() == pytest.approx(-terms.mean(), rel=1e-6)


def test_mdwa_with_one_weight_is_an_asymmetric_loss_without_a_factor_for_positives() -> None:
    value, gradient = slope(MDWALoss(None, 0.05, 2), *faces())
    other, its_gradient = slope(AsymmetricLoss(0, 2, 0.05), *faces())
    assert value == pytest.approx(other, rel=1e-12)
    assert torch.allclose(gradient, its_gradient, rtol=1e-10)


def test_weighted_bce_by_hand() -> None:
    logits, targets = torch.tensor([[0.0, 0.0, np.log(3)]]), torch.tensor([[1.0, 0.0, 1.0]])
    by_au = (6 / 16 * np.log(2) + 12 / 16 * np.log(2) - 30 / 16 * np.log(0.75)) / 3
    assert WeightedBCELoss(RATES)(logits, targets).item() == pytest.approx(by_au, rel=1e-6)
    by_positive = (np.log(2) + np.log(2) - 9 * np.log(0.75)) / 3
    assert WeightedBCELoss(RATES, "positives")(logits, targets).item() == pytest.approx(by_positive, rel=1e-6)


def test_dice_by_hand() -> None:
    """The second face's second AU is unknown, and the third AU on both."""
    p = np.array([[0.8, 0.5, 0.9], [0.4, 0.6, 0.1]])
    logits = torch.tensor(np.log(p / (1 - p)))
    targets = torch.tensor([[1.0, 0.0, NAN], [0.0, NAN, NAN]], dtype=torch.float64)
    first = 1 - (2 * 0.8 + 1) / (0.8**2 + 0.4**2 + 1 + 1)
    second = 1 - 1 / (0.5**2 + 1)
    expected = (6 / 16 * first + 12 / 16 * second) / 2
    assert WeightedDiceLoss(RATES)(logits, targets).item() == pytest.approx(expected, rel=1e-6)


# Unknown labels -------------------------------------------------------------------------------------------------------


@each_loss
def test_unknown_targets_have_no_say(loss: Loss) -> None:
    """Neither value nor gradient depends on what the logits of unknown labels are, even where they are no numbers."""
    logits, targets = faces()
    targets[1, 2] = targets[3, 0] = targets[4, 0] = NAN
    unknown = targets.isnan()
    value, gradient = slope(loss, logits, targets)
    assert not gradient[unknown].any()
    assert gradient[~unknown].isfinite().all()
    for other in (50.0, NAN, float("inf")):
        again, same = slope(loss, torch.where(unknown, other, logits), targets)
        assert again == value
        assert torch.equal(same, gradient)


@each_loss
def test_rows_of_unknown_labels_change_nothing(loss: Loss) -> None:
    logits, targets = faces()
    value, gradient = slope(loss, logits, targets)
    more, its_gradient = slope(loss, torch.cat([logits, logits]), torch.cat([targets, torch.full_like(targets, NAN)]))
    assert more == pytest.approx(value, rel=1e-12)
    assert torch.allclose(its_gradient[: len(logits)], gradient, rtol=1e-12)


@each_loss
def test_nothing_known_is_zero(loss: Loss) -> None:
    logits, targets = faces()
    value, gradient = slope(loss, logits, torch.full_like(targets, NAN))
    assert value == 0
    assert not gradient.any()


# Numbers --------------------------------------------------------------------------------------------------------------


@each_loss
def test_gradients_are_those_of_finite_differences(loss: Loss) -> None:
    logits, targets = faces(4, seed=3)
    targets[0, 0], targets[1, 1], targets[2] = 0.3, NAN, 0
    torch.autograd.gradcheck(lambda z: loss(z, targets), logits.requires_grad_())


@each_loss
def test_large_logits_stay_finite_and_exact_in_32_bits(loss: Loss) -> None:
    column = torch.tensor([-80, -30, -15, -3, 0, 3, 15, 30, 80], dtype=torch.float64)[:, None]
    logits = column.repeat(1, 3)
    for label in (0.0, 0.5, 1.0):
        targets = torch.full_like(logits, label)
        value, gradient = slope(loss, logits.float(), targets.float())
        expected, its_gradient = slope(loss, logits, targets)
        assert value == pytest.approx(expected, rel=1e-5, abs=1e-9)
        assert torch.allclose(gradient.double(), its_gradient, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0, 1.5, 3.0])
@pytest.mark.parametrize("margin", [0.0, 0.05])
def test_exponents_of_every_kind_have_gradients_at_the_margin(gamma: float, margin: float) -> None:
    """p just below, at and just above the margin, and p = 0 in 32 bits."""
    at = torch.logit(torch.tensor(0.05)).item()
    logits = torch.tensor([[-200.0], [-104.0], [-90.0], [at - 1e-6], [at], [at + 1e-6]])
    value, gradient = slope(MDWALoss(None, margin, gamma), logits, torch.zeros_like(logits))
    assert np.isfinite(value)
    assert gradient.isfinite().all()
    if margin:
        assert not gradient[:4].any()


@each_loss
def test_16_bit_logits_are_judged_in_32_bits(loss: Loss) -> None:
    logits, targets = faces()
    coarse = logits.bfloat16()
    value = loss(coarse, targets.bfloat16())
    assert value.dtype == torch.float32
    assert value.item() == loss(coarse.float(), targets.float()).item()


def test_nothing_is_kept_in_checkpoints() -> None:
    assert not MDWALoss(RATES, gamma=[1, 2, 3]).state_dict()
    assert dict(WeightedDiceLoss(RATES).named_buffers()).keys() == {"weight"}


# Weights and exponents ------------------------------------------------------------------------------------------------


def test_rates_are_of_known_labels() -> None:
    labels = torch.tensor([[1, 0, NAN], [0, NAN, NAN], [1, 1, NAN], [0, 0, NAN]])
    rates = rates_of(labels)
    assert rates[:2].tolist() == pytest.approx([0.5, 1 / 3])
    assert rates[2].isnan()
    assert rates_of(labels.numpy())[:2].tolist() == rates[:2].tolist()
    assert rates_of(torch.tensor([[True], [False]])).tolist() == [0.5]


def test_weights_by_hand() -> None:
    assert weights_from_rates(RATES).tolist() == pytest.approx(WEIGHTS)
    assert weights_from_rates([0.0, 0.02]).tolist() == pytest.approx([4 / 3, 2 / 3])  # 0 counts as 0.01
    assert weights_from_rates([0.0, 0.02], floor=0.02).tolist() == [1, 1]
    assert weights_from_rates([NAN, 0.1, 0.3]).tolist() == pytest.approx([1, 1.5, 0.5])
    assert weights_from_rates([NAN, NAN]).tolist() == [1, 1]


def test_harder_aus_get_larger_exponents() -> None:
    assert difficulty_gammas([0.9, 0.5, 0.7, NAN]).tolist() == pytest.approx([1, 2, 1.5, 1.5])
    assert difficulty_gammas([0.9, 0.5], low=0.5, high=3).tolist() == pytest.approx([0.5, 3])
    assert difficulty_gammas([0.4, 0.4]).tolist() == [1, 1]
    assert difficulty_gammas([NAN, NAN]).tolist() == [1.5, 1.5]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: MDWALoss([0.5, 1.5]), "must lie in"),
        (lambda: MDWALoss([]), "one number per AU"),
        (lambda: MDWALoss(RATES, margin=1), "margin must be in"),
        (lambda: MDWALoss(RATES, gamma=-1), "must not be negative"),
        (lambda: AsymmetricLoss(clip=-0.1), "margin must be in"),
        (lambda: WeightedBCELoss(RATES, "all"), "no balance 'all'"),  # type: ignore[arg-type]
        (lambda: weights_from_rates(RATES, floor=0), "floor"),
        (lambda: MDWALoss(RATES)(torch.zeros(2, 4), torch.zeros(2, 4)), "made for 3 AUs, not 4"),
        (lambda: MDWALoss(None, gamma=[1, 2])(torch.zeros(2, 4), torch.zeros(2, 4)), "made for 2 AUs, not 4"),
        (lambda: MDWALoss(RATES)(torch.zeros(2, 3), torch.zeros(2, 1)), "must both be"),
    ],
)
def test_what_does_not_fit_is_refused(make: Callable[[], object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()
