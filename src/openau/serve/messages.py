"""What the server and its worker processes say to each other: a JSON object, then bytes if there are any.

Workers open files from outside. What they say is therefore read as JSON, never unpickled.
"""

from __future__ import annotations

import json
from multiprocessing.connection import Connection
from typing import Any

Message = dict[str, Any]


def send(pipe: Connection, message: Message, payload: bytes = b"") -> None:
    """Send a message.

    Args:
        pipe: to the other side.
        message: JSON values.
        payload: bytes that belong to it.

    Raises:
        OSError: the other side is gone.
    """
    pipe.send_bytes(json.dumps({**message, "payload": bool(payload)}, separators=(",", ":")).encode())
    if payload:
        pipe.send_bytes(payload)


def receive(pipe: Connection) -> tuple[Message, bytes]:
    """Wait for a message.

    Raises:
        EOFError, OSError: the other side is gone.
        ValueError: it is not a message.
    """
    message = json.loads(pipe.recv_bytes())
    if not isinstance(message, dict):
        raise ValueError("not a message")
    return message, pipe.recv_bytes() if message.pop("payload", False) else b""
