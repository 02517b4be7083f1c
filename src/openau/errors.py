"""The errors OpenAU raises on purpose: each message is one sentence a person can act on."""

from __future__ import annotations


class OpenAUError(Exception):
    """Something OpenAU can explain in one sentence, naming the file and the reason.

    The command line prints the message without a traceback and leaves with `exit_code`.
    """

    exit_code = 1


class InputError(OpenAUError):
    """An input file, folder, stream or table cannot be read (missing, truncated, not an image, too large …)."""


class OutputError(OpenAUError):
    """An output cannot be written (folder missing, disk full, no permission …)."""


class WeightsError(OpenAUError):
    """Weights are missing, unreachable, or their bytes are not the ones the card promises."""


class MissingExtraError(OpenAUError):
    """A feature needs an optional dependency; the message names the `pip install` that brings it."""


class UsageError(OpenAUError):
    """The command or call itself is wrong (unknown model, contradictory options)."""

    exit_code = 2
