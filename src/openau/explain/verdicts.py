"""What a model says about a photo, calibrated."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from openau.errors import InputError
from openau.explain.faces import Inputs
from openau.training.joined import Features
from openau.training.judge import Team, calibrate_team


def probabilities(team: Team, store: Features, inputs: Inputs) -> npt.NDArray[np.float64] | None:
    """(A,) probability of each AU on one face, 0.5 being the AU's threshold; None where the store holds no one to calibrate on.

    Of the face as it is; detection averages it with its mirror image.
    """
    try:
        maps = calibrate_team(team, store).occurrence
    except InputError:
        return None
    with torch.no_grad():
        logits = team.ensemble(*inputs).occurrence[0].double().numpy()
    calibrated = logits * [each.scale for each in maps] + [each.shift for each in maps]
    return np.asarray(0.5 * (1 + np.tanh(0.5 * calibrated)))
