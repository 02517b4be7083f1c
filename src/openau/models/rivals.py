"""Other ways to teach a ViT AUs (`openau.models.petl`), with AUFormer's head, so that they can be compared with it in the same loop."""

from __future__ import annotations

from torch import Tensor

from openau.models.au_vit import AUViT, AUViTConfig
from openau.models.petl import Adapted, petl_config
from openau.models.vit import ViT


class Rival(AUViT):
    """A ViT adapted by `config.method`, and a head.

    Args:
        config: what to build.
        vit: the backbone; it is changed here, not copied.
    """

    def __init__(self, config: AUViTConfig, vit: ViT) -> None:
        super().__init__(config)
        self.adapted = Adapted(vit, petl_config(config.method, config.width))
        self.note_learnable()

    def encode(self, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        """Tokens; there are no experts."""
        return self.adapted(pixels), None
