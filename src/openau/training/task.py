"""What a model brings to a training run; the run itself (`openau.training.run`) is the same for all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import lightning as L
import numpy as np
import numpy.typing as npt

from openau.training.callbacks import EpochBatches
from openau.training.checkpoint import Checkpoint
from openau.training.epoch_module import EpochModule, Floats
from openau.training.splits import Index


@dataclass(frozen=True, slots=True)
class Parts:
    """What Lightning is given.

    Attributes:
        module: what a step minimises.
        data: its batches. batches: of which epoch, and how many.
        occurrence: (n, A) labels of the faces that choose the epoch.
    """

    module: EpochModule
    data: L.LightningDataModule
    batches: EpochBatches
    occurrence: Floats


class Task(Protocol):
    """A kind of model: its configuration from data and recipe, its module and batches. Data and recipe are of its own kind."""

    def require_enough(self, faces: Any, train: Index, recipe: Any, devices: int) -> None:
        """Check that there is enough to train on, and that the devices can share a batch.

        Raises:
            InputError: there are too few faces.
            UsageError: they cannot.
        """
        ...

    def configure(self, faces: Any, recipe: Any) -> Any:
        """The model's configuration; two that are equal are the same network.

        Raises:
            InputError: data and recipe do not fit together.
        """
        ...

    def judged_views(self, faces: Any) -> npt.NDArray[np.bool_]:
        """(N, V) the views that faces are judged on: which of them are mirror images."""
        ...

    def parts(
        self, faces: Any, train: Index, judging: Index, config: Any, recipe: Any, seed: int, source: Checkpoint | None
    ) -> Parts:
        """A fresh model (or one that starts from `source`) and its batches.

        Raises:
            UsageError: `source` does not fit.
        """
        ...
