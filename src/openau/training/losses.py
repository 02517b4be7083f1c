"""Where these losses were until `openau.losses` was made; to be removed with its last import."""

from openau.losses import masked_bce, masked_huber, ranking

__all__ = ["masked_bce", "masked_huber", "ranking"]
