"""An AU model at run time: ONNX Runtime on what was read of aligned faces (`openau.faces.readers`)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from openau.errors import WeightsError
from openau.faces.readers import Shapes
from openau.result import AUColumns
from openau.runtime.devices import Device, providers
from openau.weights.cards import ModelCard

Float = npt.NDArray[np.float32]

USUAL_NEUTRAL = -2.0
"""Logit of a relaxed face (probability 0.12) where a model's file does not state its own."""
NEUTRAL_KEY = "neutral_logits"
"""Metadata of the ONNX file: JSON object of the outputs `occurrence`, `left`, `right` → the usual logit of each AU on a relaxed face."""
EXTRACTOR_KEY = "extractor_sha256"
"""Metadata of the ONNX file: SHA-256 of the extractor's file on whose features the model was trained. Where it is missing, the card's name
of the extractor has to do."""


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """What an AU model says about n faces.

    Attributes:
        occurrence: (n, A) calibrated logits; 0 is the decision threshold.
        intensity: (n, I) 0–5.
        left: (n, S) calibrated logits of the subject's left side.
        right: (n, S) likewise of the right side.
    """

    occurrence: Float
    intensity: Float
    left: Float
    right: Float

    def __len__(self) -> int:
        return len(self.occurrence)

    def __getitem__(self, rows: slice) -> Prediction:
        return Prediction(self.occurrence[rows], self.intensity[rows], self.left[rows], self.right[rows])

    @classmethod
    def concatenate(cls, parts: Sequence[Prediction]) -> Prediction:
        """The faces of several predictions, at least one, in their order."""
        names = ("occurrence", "intensity", "left", "right")
        return cls(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})

    def values(self) -> Float:
        """(n, columns) as `Faces.values` holds them: probabilities, intensities, then left and right of each AU in turn."""
        sides = np.stack([self.left, self.right], axis=2).reshape(len(self), -1)
        return np.concatenate([sigmoid(self.occurrence), np.clip(self.intensity, 0, 5), sigmoid(sides)], axis=1)


def sigmoid(logits: Float) -> Float:
    """Probability of a logit, without overflow."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * logits)), np.float32)


def mirror_mean(faces: Prediction, mirrored: Prediction) -> Prediction:
    """Average faces with their mirror images, in which left and right have changed places."""
    half = np.float32(0.5)
    return Prediction(
        occurrence=half * (faces.occurrence + mirrored.occurrence),
        intensity=half * (faces.intensity + mirrored.intensity),
        left=half * (faces.left + mirrored.right),
        right=half * (faces.right + mirrored.left),
    )


class AUNetwork:
    """An exported AU model.

    Args:
        file: the ONNX file.
        card: its card.
        threads: threads of the network.
        device: where it runs, `openau.runtime.devices.resolve`d.

    Attributes:
        columns: AU columns of the tables it fills.
        neutral: usual logits of a relaxed face, one row, from the file's metadata; `USUAL_NEUTRAL` where it states none.
        extractor_sha256: of the extractor's file, from the metadata; None where it states none.

    Raises:
        WeightsError: the file is not an ONNX model, or does not have the inputs and outputs its card promises.
    """

    def __init__(self, file: Path, card: ModelCard, threads: int = 1, device: Device = "cpu") -> None:
        self.card = card
        self.columns = AUColumns(card.aus, card.intensity_aus, card.sided_aus)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = ort.InferenceSession(str(file), options, providers=providers(device))
        except Exception as error:  # ONNX Runtime's own exceptions share no base class
            raise WeightsError(f"{file}: is not a model ONNX Runtime can read: {_first_line(error)}") from None
        widths = {
            "occurrence": card.aus,
            "intensity": card.intensity_aus,
            "left": card.sided_aus,
            "right": card.sided_aus,
        }
        self._widths = {name: len(aus) for name, aus in widths.items()}
        self._outputs = [name for name, width in self._widths.items() if width]
        self._check(file)
        self.neutral = self._read_neutral(file)
        self.extractor_sha256: str | None = self._session.get_modelmeta().custom_metadata_map.get(EXTRACTOR_KEY)

    def predict(self, **inputs: Float) -> Prediction:
        """Run the model on n faces.

        Args:
            inputs: those that the card names, (n, …) each: geometry and hypercolumns, or pixels.
        """
        n = len(next(iter(inputs.values())))
        # Not every graph can be run on nothing.
        outputs = self._session.run(self._outputs, inputs) if n else []
        return self._prediction(dict(zip(self._outputs, outputs, strict=n > 0)), n)

    def _prediction(self, given: dict[str, Any], n: int) -> Prediction:
        return Prediction(
            **{
                name: np.asarray(given[name], np.float32) if name in given else np.zeros((n, width), np.float32)
                for name, width in self._widths.items()
            }
        )

    def _check(self, file: Path) -> None:
        """Compare the graph's inputs and outputs with the card."""
        inputs = {node.name: tuple(node.shape[1:]) for node in self._session.get_inputs()}
        promised = {name: tuple(shape) for name, shape in self.card.input.items()}
        if inputs != promised:
            raise WeightsError(
                f"{file}: has the inputs {shapes(inputs)}, but the card of {self.card.name} promises {shapes(promised)}"
            )
        outputs = {node.name: (node.shape or [1])[-1] for node in self._session.get_outputs()}
        for name in self._outputs:
            if name not in outputs:
                raise WeightsError(f"{file}: has no output {name!r}, which the card of {self.card.name} promises")
            if outputs[name] != self._widths[name]:
                raise WeightsError(
                    f"{file}: its output {name!r} has {outputs[name]} AUs, "
                    f"but the card of {self.card.name} names {self._widths[name]}"
                )
        try:
            self.predict(**{name: np.zeros((2, *shape), np.float32) for name, shape in promised.items()})
        except Exception as error:  # ONNX Runtime's own exceptions share no base class
            raise WeightsError(f"{file}: cannot judge two faces at once: {_first_line(error)}") from None

    def _read_neutral(self, file: Path) -> Prediction:
        text = self._session.get_modelmeta().custom_metadata_map.get(NEUTRAL_KEY)
        try:
            stated = json.loads(text) if text else {}
            given = {name: np.array([stated[name]], np.float32) for name in stated}
            wrong = [name for name in given if given[name].shape != (1, self._widths[name])]
        except (ValueError, KeyError, TypeError) as error:
            raise WeightsError(f"{file}: its metadata {NEUTRAL_KEY!r} cannot be read: {error}") from None
        if wrong:
            raise WeightsError(
                f"{file}: its metadata {NEUTRAL_KEY!r} does not fit the AUs of the card in {_names(wrong)}"
            )
        for name in ("occurrence", "left", "right"):
            given.setdefault(name, np.full((1, self._widths[name]), USUAL_NEUTRAL, np.float32))
        return self._prediction(given, 1)


def _names(names: Any) -> str:
    return ", ".join(sorted(names)) or "none"


def shapes(inputs: Shapes) -> str:
    """Inputs in words."""
    return ", ".join(f"{name} {'×'.join(map(str, shape))}" for name, shape in sorted(inputs.items()))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
