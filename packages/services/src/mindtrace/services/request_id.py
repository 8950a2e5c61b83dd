"""The id of the request that is being answered: taken from the caller or made, and handed back."""

from __future__ import annotations

import re
from contextvars import ContextVar
from itertools import count
from secrets import token_hex

HEADER = b"x-request-id"
_USABLE = re.compile(rb"[\x21-\x7e]{1,128}")

_PROCESS = token_hex(8)
_numbers = count(1)

request_id: ContextVar[str] = ContextVar("mindtrace_request_id", default="")
"""The id of the request that is being answered; empty outside of one."""


def accepted(value: bytes | None) -> str:
    """Return the caller's id if it can stand in a header and a log line, else a new one."""
    if value is not None and _USABLE.fullmatch(value):
        return value.decode("ascii")
    # unlike random ids of their own, these cost next to nothing, and tell the process as well
    return f"{_PROCESS}-{next(_numbers):x}"
