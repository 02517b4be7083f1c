"""Who teaches K peers: from what all of them say to the logits that each of them is taught.

All take logits (K, B, O) and tokens (K, B, A, W), O outputs that belong to A AUs, and return (K, B, O). Peers' logits are not moved by
what they teach: gradients reach the teacher's own weights only, from the labels (`Lessons.ensemble`), as ONE trains its gate.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from openau.distill.settings import TeacherKind


class MeanTeacher(nn.Module):
    """The mean of all peers' logits, for every peer."""

    def forward(self, logits: Tensor, tokens: Tensor) -> Tensor:
        """See the module."""
        return logits.detach().mean(dim=0).expand_as(logits)


class GatedTeacher(nn.Module):
    """A weighted mean of the peers' logits, the weights from a learned gate (ONE: Lan, Zhu & Gong, NeurIPS 2018).

    ONE's gate reads the features that its branches share: one fully connected layer, batch normalisation, ReLU, softmax over the branches.
    Here peers share no learned feature, so the gate reads the mean of their tokens, AU by AU: every AU has its own weights over the peers.
    It starts as the plain mean.

    Args:
        peers: K.
        owners: position of the AU that each output belongs to.
        width: W.
    """

    def __init__(self, peers: int, owners: Sequence[int], width: int) -> None:
        super().__init__()
        self.owners: Tensor
        self.register_buffer("owners", torch.tensor(owners), persistent=False)
        self.norm = nn.LayerNorm(width)
        self.gate = nn.Linear(width, peers)
        nn.init.zeros_(self.gate.weight)
        nn.init.zeros_(self.gate.bias)

    def weights(self, tokens: Tensor) -> Tensor:
        """(K, B, A) share of each peer in what is taught about each AU; they sum to 1 over the peers."""
        shares = torch.softmax(self.gate(self.norm(tokens.detach().mean(dim=0))), dim=-1)
        return shares.permute(2, 0, 1)

    def forward(self, logits: Tensor, tokens: Tensor) -> Tensor:
        """See the module."""
        shares = self.weights(tokens).index_select(2, self.owners)
        return (shares * logits.detach()).sum(dim=0).expand_as(logits)


class AttentionTeacher(nn.Module):
    """Every auxiliary peer its own mixture of the auxiliaries, the leader their mean (OKDDip: Chen et al., AAAI 2020).

    Peer a listens to peer b by softmax_b(L(h_a) · E(h_b)), h a peer's feature of the face: here the mean of its tokens. L and E differ, so
    who is listened to need not listen. Peer 0 is the leader and teaches nobody. OKDDip mixes softened predictions; here logits are mixed,
    as by the other teachers.

    Args:
        width: W.
        space: width of the space in which peers are compared.
    """

    def __init__(self, width: int, space: int = 16) -> None:
        super().__init__()
        self.listen = nn.Linear(width, space, bias=False)
        self.speak = nn.Linear(width, space, bias=False)

    def weights(self, tokens: Tensor) -> Tensor:
        """(B, K − 1, K − 1) share of auxiliary b (column) in what auxiliary a (row) is taught; rows sum to 1."""
        faces = tokens.detach()[1:].mean(dim=2).transpose(0, 1)
        return torch.softmax(self.listen(faces) @ self.speak(faces).transpose(-1, -2), dim=-1)

    def forward(self, logits: Tensor, tokens: Tensor) -> Tensor:
        """See the module."""
        others = logits.detach()[1:]
        own = torch.einsum("bij,jbo->ibo", self.weights(tokens), others)
        return torch.cat([others.mean(dim=0, keepdim=True), own])


def teacher(kind: TeacherKind, peers: int, owners: Sequence[int], width: int) -> nn.Module:
    """The teacher of this kind, for K peers with outputs of these AUs and tokens of this width."""
    match kind:
        case "mean":
            return MeanTeacher()
        case "gated":
            return GatedTeacher(peers, owners, width)
        case "attention":
            return AttentionTeacher(width)
