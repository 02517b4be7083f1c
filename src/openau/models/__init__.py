"""AU models: pure PyTorch, no training code; `create_model` makes one by name."""

from openau.models.create import create_model

__all__ = ["create_model"]
