"""What the user sees: a progress bar, and tables at the end. Plain lines where no terminal is."""

import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import NamedTuple, Self

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

PLAIN_EVERY = 2.0
LONGEST = 10


class Row(NamedTuple):
    """One file that was read."""

    path: str
    sha256: str
    size: int
    lines: int
    words: int


class Failure(NamedTuple):
    """One file that was not, and why."""

    path: str
    reason: str


def make_console(*, stderr: bool = False) -> Console:
    """Return a console that prints names as they are, and control codes on a terminal only."""
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


def shown(path: str, folder: Path | None = None) -> str:
    """Return a path for the eye: without the folder, and without what a terminal would obey."""
    name = path.removeprefix(f"{folder}/")
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in name)


class Bar:
    """A progress bar; where no terminal is, a plain line now and then."""

    def __init__(self, console: Console, total: int) -> None:
        self._console = console
        self._total = total
        self._said = -1
        self._next = 0.0
        self._progress = None
        if console.is_terminal and not console.is_dumb_terminal:
            counts = TextColumn("{task.completed:,.0f} of {task.total:,.0f} files")
            # Not as wide as the terminal: the ^C that it echoes must not begin a new line.
            self._progress = Progress(BarColumn(), counts, TimeRemainingColumn(), console=console)
            self._task = self._progress.add_task("", total=total)

    def show(self, done: int) -> None:
        """Show how many are done."""
        if self._progress is not None:
            self._progress.update(self._task, completed=done)
        elif done != self._said and (monotonic() >= self._next or done == self._total):
            self._said, self._next = done, monotonic() + PLAIN_EVERY
            self._console.print(f"{done:,} of {self._total:,} files")

    def __enter__(self) -> Self:
        """Begin to draw."""
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Draw a last time, and give the cursor back."""
        if self._progress is not None:
            self._progress.stop()


def print_report(
    console: Console, folder: Path, rows: Sequence[Row], failures: Sequence[Failure]
) -> None:
    """Print totals by suffix, the largest files, and the files that could not be read."""
    if rows:
        console.print(_suffixes(rows))
        console.print(_largest(rows, folder))
    if failures:
        table = _table(f"Not read: {len(failures):,} dead letters", "file", "reason")
        for failure in failures:
            table.add_row(shown(failure.path, folder), shown(failure.reason))
        console.print(table)


def _suffixes(rows: Sequence[Row]) -> Table:
    table = _table("By suffix", "suffix", files=1, size=1, lines=1, words=1)
    groups: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[Path(row.path).suffix or "(none)"].append(row)
    largest = sorted(groups, key=lambda suffix: -sum(row.size for row in groups[suffix]))
    for suffix in largest[:LONGEST]:
        table.add_row(shown(suffix), *_totals(groups[suffix]))
    if rest := [row for suffix in largest[LONGEST:] for row in groups[suffix]]:
        table.add_row(f"({len(largest) - LONGEST} more)", *_totals(rest))
    table.add_section()
    table.add_row("all", *_totals(rows))
    return table


def _totals(rows: Sequence[Row]) -> tuple[str, str, str, str]:
    lines, words = sum(row.lines for row in rows), sum(row.words for row in rows)
    return f"{len(rows):,}", decimal(sum(row.size for row in rows)), f"{lines:,}", f"{words:,}"


def _largest(rows: Sequence[Row], folder: Path) -> Table:
    table = _table("Largest files", "file", "sha256", size=1)
    for row in sorted(rows, key=lambda row: -row.size)[:5]:
        table.add_row(shown(row.path, folder), f"{row.sha256[:12]}…", decimal(row.size))
    return table


def _table(title: str, *texts: str, **numbers: int) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    for name in texts:
        table.add_column(name, overflow="fold")
    for name in numbers:
        table.add_column(name, justify="right")
    return table
