"""The models a server offers, and everything its page says about them."""

from __future__ import annotations

from openau import __version__
from openau.facs import au
from openau.overlay import CONTOURS
from openau.serve.problems import ProblemError
from openau.serve.schema import LimitsDocument, MeasureDocument, ModelDocument, ModelsDocument, UnitDocument
from openau.serve.settings import Settings
from openau.serve.worker import has_parquet, has_report
from openau.weights import store
from openau.weights.cards import ModelCard


class Catalogue:
    """The installed models, and the one the server was started with. Requests choose among them by name, never by path.

    Args:
        settings: the server's.

    Raises:
        UsageError: the model the server was started with does not exist.
        WeightsError: a card cannot be read.
    """

    def __init__(self, settings: Settings) -> None:
        chosen, _ = store.resolve_model(settings.model)
        cards = [store.card(name) for name in store.card_files()]
        self._cards = {card.name: card for card in (chosen, *cards)}
        self._places = dict.fromkeys(self._cards) | {chosen.name: settings.model}
        self.default = chosen.name
        self._settings = settings

    def name(self, asked: str | None) -> str:
        """The name of the model that is asked for; None and `default` are the server's.

        Raises:
            ProblemError: 404, there is none.
        """
        if asked in (None, "", "default"):
            return self.default
        if asked not in self._cards:
            raise ProblemError(404, f"there is no model {str(asked)[:80]!r} here; there are {', '.join(self._cards)}")
        return str(asked)

    def place(self, name: str) -> str:
        """What `Detector` is told for a model of this name."""
        return self._places[name] or name

    def document(self) -> ModelsDocument:
        """The answer of `GET /v1/models`."""
        settings = self._settings
        return ModelsDocument(
            version=__version__,
            models=[self._model(card) for card in self._cards.values()],
            limits=LimitsDocument(
                bytes=settings.max_bytes,
                pixels=settings.max_pixels,
                seconds=settings.max_seconds,
                kept_for=settings.keep_seconds,
            ),
            login=settings.token is not None,
            parquet=has_parquet(),
            report=has_report(),
            contours=[(list(line), closed) for line, closed in CONTOURS],
        )

    def _model(self, card: ModelCard) -> ModelDocument:
        return ModelDocument(
            name=card.name,
            default=card.name == self.default,
            architecture=card.architecture,
            reads=card.extractor,
            licence=card.licence,
            origin=card.origin,
            trained_on=card.trained_on,
            size=card.asset.size,
            limits=card.limits,
            aus=[
                UnitDocument(
                    number=number, column=au(number).column, name=au(number).name, muscle=au(number).muscle, region=au(number).region,
                    intensity=number in card.intensity_aus, sided=number in card.sided_aus,
                )
                for number in sorted(card.aus)
            ],
            measured={
                what: MeasureDocument(value=m.value, low=m.low, high=m.high, n=m.n, command=m.command)
                for what, m in card.measured.items()
            },
        )  # fmt: skip
