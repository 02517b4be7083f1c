"""Links between AUs inside a FAN-Trans: attention, what the drop has learned, and which AU's token decides about which AU.

Attention says from whose token a token is mixed, not that the mixture matters: a head may attend to an AU and its output be ignored. The
classifier's influence is exact, but about tokens that the transformer has mixed already. Both describe the model, not the face.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from openau.explain.faces import Faces
from openau.models.fantrans import Block, Classifier, FANTrans

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Links:
    """AU × AU matrices of a model; rows are the AUs that listen or are judged, columns the AUs that are heard.

    Attributes:
        aus: of rows and columns.
        attention: (D, A, A) of each transformer block: mean over heads and faces, after the drop; rows sum to 1. D = 0: no transformer.
        keep: (D, A, A) learned keep probability, mean over heads; None without attention drop.
        begun_at: the keep probability that training began with.
        spread: (A, A) logits: standard deviation over faces of the contribution c_ij of AU j's token to AU i's logit (`contributions`).
        influence: (A, A) logits: cov(c_ij, z_j) / sd(z_j), z_j being AU j's logit: how far AU i's logit moves by way of AU j's token when
            AU j's logit is one standard deviation higher. Its sign says for or against; its size is at most `spread`.
    """

    aus: tuple[int, ...]
    attention: Doubles
    keep: Doubles | None
    begun_at: float
    spread: Doubles
    influence: Doubles

    @property
    def mean_attention(self) -> Doubles | None:
        """(A, A) mean over the blocks; None without a transformer."""
        return self.attention.mean(axis=0) if len(self.attention) else None

    @property
    def mean_keep(self) -> Doubles | None:
        """(A, A) mean over the blocks; None without attention drop."""
        return None if self.keep is None else self.keep.mean(axis=0)


@contextmanager
def recorded_attention(model: FANTrans) -> Iterator[list[Tensor]]:
    """While the block runs, each forward pass appends the attention of every transformer block, (B, H, A, A), block by block.

    What the model computes stays the same, bit for bit: attention is computed a second time beside it, from the same queries and keys.

    Raises:
        ValueError: the model is in training mode, in which the drop draws anew each time.
    """
    if model.training:
        raise ValueError("attention is recorded in evaluation mode; call model.eval() first")
    seen: list[Tensor] = []

    def keep(block: Block, module: nn.Module, inputs: tuple[Tensor, ...], projected: Tensor) -> None:
        query, key, _ = block.split_heads(projected.detach())
        with torch.no_grad():
            seen.append(block.attention(query, key))

    blocks = [cast(Block, block) for block in model.blocks]
    hooks = [block.qkv.register_forward_hook(partial(keep, block)) for block in blocks]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def keep_probability(model: FANTrans) -> Tensor | None:
    """(D, H, A, A) learned keep probabilities; None without attention drop."""
    drops = [cast(Block, block).attention_drop for block in model.blocks]
    found = [drop.keep_probability() for drop in drops if drop is not None]
    return torch.stack(found) if found else None


def weights_of_tokens(classifier: Classifier) -> Tensor:
    """(outputs, A, W): the one linear map that the classifier's own and shared parts are together.

    output_o = Σ_j weights[o, j] · token_j + bias_o.
    """
    outputs, width = classifier.own.shape
    own = classifier.own.detach()
    if classifier.gather is None or classifier.spread is None:
        weights = own.new_zeros(outputs, int(classifier.owners.max()) + 1, width)
    else:
        weights = (classifier.spread.weight @ classifier.gather.weight).detach().reshape(outputs, -1, width)
    weights[torch.arange(outputs), classifier.owners] += own
    return weights


def contributions(classifier: Classifier, tokens: Tensor) -> Tensor:
    """(B, A, W) tokens → (B, outputs, A): c_oj = weights[o, j] · token_j; summed over j, the outputs less their bias."""
    return torch.einsum("ojw,bjw->boj", weights_of_tokens(classifier), tokens)


def links(model: FANTrans, faces: Faces) -> Links:
    """Watch a model, in evaluation mode, on some faces."""
    count = len(model.config.aus)
    attention = torch.zeros(len(model.blocks), count, count, dtype=torch.float64)
    parts, logits = [], []
    with recorded_attention(model) as seen, torch.no_grad():
        for batch in faces.batches(model):
            output, tokens = model.judge(*batch)
            if seen:
                attention += torch.stack(seen).double().mean(dim=2).sum(dim=1)
                seen.clear()
            parts.append(contributions(model.classifier, tokens)[:, :count].double())
            logits.append(output.occurrence.double())
    part, logit = torch.cat(parts).numpy(), torch.cat(logits).numpy()
    keep = keep_probability(model)
    part, logit = part - part.mean(axis=0), logit - logit.mean(axis=0)
    deviation = np.sqrt((logit**2).mean(axis=0))
    together = np.einsum("nij,nj->ij", part, logit) / len(logit)
    return Links(
        aus=model.config.aus,
        attention=(attention / len(faces.rows)).numpy(),
        keep=None if keep is None else keep.double().mean(dim=1).numpy(),
        begun_at=model.config.keep,
        spread=np.sqrt((part**2).mean(axis=0)),
        influence=together / np.maximum(deviation, 1e-12),
    )
