"""`--calibrate`: take each person's own resting face out of the logits.

Faces differ at rest: low brows look like AU4, upturned mouth corners like AU12. In a video a person mostly shows what they look like at
rest, so a low quantile of each AU's logit over the video estimates it. The person's logits are moved so that this quantile comes to
lie where the model's usual resting face lies; then the sigmoid gives probabilities again.

Failure case: someone who shows an AU in nearly every frame (a smile held through the whole clip, a squint against the sun) has that AU
taken for their resting face, and it disappears. Do not calibrate short clips of one expression.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from openau.runtime.network import Prediction

Float = npt.NDArray[np.float32]

QUANTILE = 0.15
"""Of a person's frames, the share that lies below their resting logit: an AU may be active in up to 85 % of the frames, and blinks or
single bad frames, a few per cent, do not move it."""
MIN_FRAMES = 50
"""A person seen in fewer frames (two seconds at 25 frames per second) is left as measured."""
MAX_RAISE = 1.0
"""Logits are lowered as far as needed but raised by this at most: a resting face on which the model is surer than usual that an AU is
absent is no reason to see that AU at the first flicker."""


def resting_logits(logits: npt.NDArray[np.floating], quantile: float = QUANTILE) -> Float:
    """A person's resting logit of each AU.

    Args:
        logits: (frames, A) of one person.
        quantile: 0–1.

    Returns:
        (A,) float32.

    Raises:
        ValueError: there is no frame, or the quantile lies outside 0–1.
    """
    if len(logits) == 0:
        raise ValueError("the resting face needs at least one frame")
    if not 0 <= quantile <= 1:
        raise ValueError(f"the quantile must lie in 0–1, not at {quantile:g}")
    return np.asarray(np.quantile(logits, quantile, axis=0), np.float32)


def take_out(logits: Float, resting: Float, usual: Float) -> Float:
    """Move logits so that a person's resting face comes to lie where a usual one does.

    Args:
        logits: (frames, A).
        resting: (A,) the person's resting logits.
        usual: (A,) the model's logits of a usual resting face.

    Returns:
        (frames, A): `logits + min(usual - resting, MAX_RAISE)`.
    """
    return np.asarray(logits + np.minimum(usual - resting, np.float32(MAX_RAISE)), np.float32)


def take_out_intensity(intensity: Float, resting: Float) -> Float:
    """Stretch intensities so that a person's resting value becomes 0 and 5 stays 5.

    Args:
        intensity: (frames, I), 0–5.
        resting: (I,) the person's resting intensities.
    """
    span = np.maximum(5 - resting, np.float32(1e-3))
    return np.asarray(np.clip(5 * (intensity - resting) / span, 0, 5), np.float32)


def calibrate(prediction: Prediction, resting: Prediction, usual: Prediction) -> Prediction:
    """Take a person's resting face out of everything the model says.

    Args:
        prediction: n frames of the person.
        resting: one row, their resting face (quantiles of each output).
        usual: one row, the model's usual resting face.
    """
    return Prediction(
        occurrence=take_out(prediction.occurrence, resting.occurrence[0], usual.occurrence[0]),
        intensity=take_out_intensity(prediction.intensity, resting.intensity[0]),
        left=take_out(prediction.left, resting.left[0], usual.left[0]),
        right=take_out(prediction.right, resting.right[0], usual.right[0]),
    )
