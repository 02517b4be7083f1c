"""Detection: what a user imports. No torch."""

from openau.runtime.detector import Detector, Observation

__all__ = ["Detector", "Observation"]
