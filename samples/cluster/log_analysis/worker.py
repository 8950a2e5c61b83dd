"""The worker: counts what log files say, and how loudly."""

import gzip
import re
from collections import Counter
from collections.abc import Callable
from io import SEEK_END, BufferedReader
from typing import Any

from pydantic import BaseModel, Field

from log_analysis.files import decoded
from mindtrace.cluster import Worker
from mindtrace.jobs import Consumer, JobSchema

LEVEL = re.compile(rb"\b(CRITICAL|FATAL|ERROR|WARN(?:ING)?|INFO|DEBUG|TRACE)\b")
SAME = {b"WARN": "WARNING", b"FATAL": "CRITICAL"}
LOUD = {"CRITICAL", "ERROR", "WARNING"}
# what differs from one line to the next and says nothing of its kind
VARYING = re.compile(r"\d[\w.:,+-]*|0x[0-9a-f]+|\b[0-9a-f]{8,}\b|'[^']*'|\"[^\"]*\"")
GZIP = b"\x1f\x8b"
PIECE = 1 << 16
KINDS, LONGEST = 500, 100
"""The most kinds of lines that a job tells of, and the most characters of one."""


class Batch(BaseModel):
    """What comes in: some files, and how many bytes they have together."""

    files: list[str]
    size: int


class Findings(BaseModel):
    """What comes out; the findings of several jobs can be added up."""

    files: int = 0
    lines: int = 0
    levels: Counter[str] = Field(default_factory=Counter[str])
    kinds: Counter[str] = Field(default_factory=Counter[str])
    """Loud lines, without what differs from one to the next."""
    loudest: Counter[str] = Field(default_factory=Counter[str])
    """Loud lines of each file that has any."""
    binary: int = 0
    unreadable: dict[str, str] = Field(default_factory=dict[str, str])

    def add(self, other: "Findings") -> None:
        """Add those of another job."""
        self.files += other.files
        self.lines += other.lines
        self.binary += other.binary
        self.levels.update(other.levels)
        self.kinds.update(other.kinds)
        self.loudest.update(other.loudest)
        self.unreadable.update(other.unreadable)


ANALYSE = JobSchema(name="analyse_logs", input_schema=Batch, output_schema=Findings)


class LogWorker(Worker):
    """Analyses a batch of files. One that is killed in the middle has its batch begun again."""

    def _run(self, job_dict: dict[str, Any]) -> Findings:
        batch = Batch.model_validate(job_dict)
        found = Findings()
        with Consumer.progress(total=batch.size) as progress:
            for name in batch.files:
                if Consumer.cancelled():
                    break
                try:
                    analyse(name, found, progress.advance)
                except (OSError, EOFError) as error:  # the latter: it is packed, and cut off
                    found.unreadable[name] = getattr(error, "strerror", None) or str(error)
        found.kinds = Counter(dict(found.kinds.most_common(KINDS)))
        return found


def analyse(name: str, found: Findings, advance: Callable[[float], object]) -> None:
    """Read one file, packed by gzip or not, and add to what was found.

    Raises:
        OSError: It cannot be read.
    """
    done = 0
    with open(decoded(name), "rb") as raw, unpacked(raw) as file:  # noqa: PTH123 - any bytes are a name
        if b"\0" in file.peek(PIECE)[:PIECE]:
            found.binary += 1
            done = raw.seek(0, SEEK_END)
            advance(done)
            return
        found.files += 1
        while line := file.readline(PIECE):
            found.lines += 1
            count(line, name, found)
            if raw.tell() != done:
                advance(raw.tell() - done)
                done = raw.tell()


def unpacked(raw: BufferedReader) -> BufferedReader | gzip.GzipFile:
    """Return what reads a file as it was before it was packed."""
    return gzip.GzipFile(fileobj=raw) if raw.peek(2)[:2] == GZIP else raw


def count(line: bytes, name: str, found: Findings) -> None:
    """Add one line to what was found."""
    level = LEVEL.search(line)
    if level is None:
        return
    word = SAME.get(level[1], level[1].decode())
    found.levels[word] += 1
    if word in LOUD:
        found.loudest[name] += 1
        text = line[level.start() :].decode(errors="replace").strip()
        found.kinds[VARYING.sub("#", text)[:LONGEST]] += 1
