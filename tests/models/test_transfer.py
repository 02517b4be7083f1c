"""Weights taken over from a model of other AUs."""

import pytest
import torch

from openau.faces import features
from openau.models.fantrans import FANTrans, FANTransConfig, build
from openau.models.transfer import start_from

BP4D, DISFA = (1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24), (1, 2, 4, 6, 9, 12, 25, 26)
SHARED = (1, 2, 4, 6, 12)


def model(aus: tuple[int, ...], seed: int, **options: object) -> FANTrans:
    torch.manual_seed(seed)
    sided = [number for number in (6, 12, 2) if number in aus]
    config = FANTransConfig.create(
        aus, aus[::2], sided, features.POINTS.tolist(), 24, features.GEOMETRY_SIZE, **options
    )
    net = build(config).eval()
    net.set_statistics(*(torch.rand(size) + 0.5 for size in (features.GEOMETRY_SIZE, features.GEOMETRY_SIZE, 24, 24)))
    return net


def faces() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(9)
    return torch.randn(4, features.GEOMETRY_SIZE), torch.randn(4, len(features.POINTS), 24)


@pytest.mark.parametrize(
    "options", [{}, {"geometry": "late"}, {"geometry": "none", "rank": 0}, {"hypercolumns": False}], ids=str
)
def test_the_same_aus_in_another_order_give_the_same_model(options: dict[str, object]) -> None:
    """Everything is taken over and every number finds its AU: the two say the same."""
    source = model(BP4D, 0, **options)
    target = model(BP4D[::-1], 1, **options)
    assert start_from(target, source) == BP4D[::-1]
    said, wanted = target(*faces()), source(*faces())
    torch.testing.assert_close(said.occurrence.flip(1), wanted.occurrence, atol=1e-5, rtol=1e-5)
    place = [target.config.sided_aus.index(number) for number in source.config.sided_aus]
    torch.testing.assert_close(said.left[:, place], wanted.left, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(said.right[:, place], wanted.right, atol=1e-5, rtol=1e-5)


def test_shared_aus_are_judged_alike_before_training_and_the_others_stay_fresh() -> None:
    """Without links between AUs, a shared AU's verdict depends on what was taken over alone."""
    alone = {"depth": 0, "rank": 0}
    source, target, fresh = model(BP4D, 0, **alone), model(DISFA, 1, **alone), model(DISFA, 1, **alone)
    assert start_from(target, source) == SHARED
    said, wanted, before = (net(*faces()).occurrence for net in (target, source, fresh))
    for number in SHARED:
        torch.testing.assert_close(said[:, DISFA.index(number)], wanted[:, BP4D.index(number)], atol=1e-5, rtol=1e-5)
    own = target.classifier.own
    for number in set(DISFA) - set(SHARED):
        assert torch.equal(own[DISFA.index(number)], fresh.classifier.own[DISFA.index(number)])
    assert not torch.allclose(said, before, atol=0.01)


def test_keep_probabilities_move_with_their_pair() -> None:
    source, target = model(BP4D, 0), model(DISFA, 1)
    for block in source.blocks:
        torch.nn.init.normal_(block.attention_drop.keep_logit)
    start_from(target, source)
    theirs, mine = source.blocks[0].attention_drop.keep_logit, target.blocks[0].attention_drop.keep_logit
    assert torch.equal(mine[:, DISFA.index(12), DISFA.index(6)], theirs[:, BP4D.index(12), BP4D.index(6)])
    assert torch.equal(mine[:, DISFA.index(25), DISFA.index(6)], mine[:1, DISFA.index(25), DISFA.index(6)].expand(4))


def test_models_that_do_not_fit_are_told() -> None:
    with pytest.raises(ValueError, match="no AU in common"):
        start_from(model((9, 25), 0), model((1, 2), 1))
    with pytest.raises(ValueError, match="has the size"):
        start_from(model(DISFA, 0), model(BP4D, 1, token_width=32))
    with pytest.raises(ValueError, match="the other model has no"):
        start_from(model(DISFA, 0), model(BP4D, 1, depth=1))
