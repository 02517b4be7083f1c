"""What went wrong, as RFC 9457 has it: `application/problem+json`."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.responses import JSONResponse

MEDIA_TYPE = "application/problem+json"


class ProblemError(Exception):
    """A request that is answered with an error.

    Args:
        status: HTTP status.
        detail: one sentence a person can act on.
        headers: further headers of the answer.
    """

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})

    def document(self) -> dict[str, Any]:
        """The problem as JSON values."""
        return {"type": "about:blank", "title": _title(self.status), "status": self.status, "detail": self.detail}

    def response(self) -> JSONResponse:
        """The answer."""
        return JSONResponse(self.document(), self.status, self.headers, media_type=MEDIA_TYPE)


def _title(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


def busy(detail: str, seconds: int = 5) -> ProblemError:
    """There is no room for the request now.

    Args:
        detail: what there is no room for.
        seconds: when to try again.
    """
    return ProblemError(503, detail, {"Retry-After": str(seconds)})
