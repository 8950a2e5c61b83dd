"""What the user sees: one bar for all, one for each job under way, and tables at the end."""

import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn
from rich.table import Table

from log_analysis.files import decoded
from log_analysis.worker import Findings

MOST = 10


def make_console(*, stderr: bool = False) -> Console:
    """Return a console that prints lines as they are, and control codes on a terminal only."""
    terminal = (sys.stderr if stderr else sys.stdout).isatty()
    return Console(
        stderr=stderr,
        force_terminal=terminal,
        width=None if terminal else 120,
        soft_wrap=not terminal,
        markup=False,
        emoji=False,
        highlight=False,
    )


def shown(text: str) -> str:
    """Return text of others for the eye: without what a terminal would obey."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)


class Bars:
    """Progress bars; nothing where no terminal is."""

    def __init__(self, console: Console, total: int) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._all = self._progress.add_task("all", total=total)
        self._running: dict[str, TaskID] = {}

    def show(self, done: float, running: dict[str, tuple[float, float | None]]) -> None:
        """Show how many bytes are done, and how far the jobs are that run."""
        for job in self._running.keys() - running.keys():
            self._progress.remove_task(self._running.pop(job))
        for job, (completed, total) in running.items():
            if job not in self._running:
                self._running[job] = self._progress.add_task(f"  {job}", total=total)
            self._progress.update(self._running[job], completed=completed, total=total)
        self._progress.update(self._all, completed=done)

    def __enter__(self) -> Self:
        """Begin to draw."""
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Draw a last time, and give the cursor back."""
        self._progress.stop()


def print_report(console: Console, folder: Path, found: Findings, failed: Iterable[Any]) -> None:
    """Print what was found, and the jobs that failed."""
    left_out = f"; {found.binary:,} files are no text" if found.binary else ""
    console.print(f"{found.lines:,} lines in {found.files:,} files{left_out}")
    if found.levels:
        _print(console, "Levels", ("level", "lines"), found.levels)
        _print(console, "Most common among the loud lines", ("line", "times"), found.kinds)
        start = f"{folder}/"
        loudest = Counter(
            {decoded(name).removeprefix(start): lines for name, lines in found.loudest.items()}
        )
        _print(console, "Loudest files", ("file", "loud lines"), loudest)
    for name, reason in found.unreadable.items():
        console.print(f"Not read: {shown(decoded(name))}: {shown(reason)}")
    for each in failed:
        console.print(f"Failed: job {each.job_id}: {shown(str(each.output))}")


def _print(console: Console, title: str, heads: tuple[str, str], counted: "Counter[str]") -> None:
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    table.add_column(heads[0], overflow="ellipsis", no_wrap=True)
    table.add_column(heads[1], justify="right")
    for name, count in counted.most_common(MOST):
        table.add_row(shown(name), f"{count:,}")
    console.print(table)


def size_of(count: int) -> str:
    """Return a number of bytes for the eye."""
    return decimal(count)
