"""Fixtures shared with the command line's tests."""

from detection import media, model

__all__ = ["media", "model"]
