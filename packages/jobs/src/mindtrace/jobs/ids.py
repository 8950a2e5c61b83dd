"""Job ids: time-ordered UUIDs of version 7 (RFC 9562, section 5.7).

Ids that rise with time land side by side in an index; random ones cost a quarter of the throughput.
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime

_RAND_B_MASK = (1 << 62) - 1


def new_job_id() -> str:
    """Return a fresh id: 48 bits of milliseconds, 12 bits below the millisecond, 62 random bits."""
    nanoseconds = time.time_ns()
    milliseconds, rest = divmod(nanoseconds, 1_000_000)
    fraction = (rest << 12) // 1_000_000
    random = int.from_bytes(os.urandom(8), "big") & _RAND_B_MASK
    text = f"{milliseconds << 16 | 0x7000 | fraction:016x}{1 << 63 | random:016x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def timestamp(seconds: float) -> str:
    """Return seconds since the epoch as ISO 8601 text in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat()
