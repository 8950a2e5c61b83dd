"""What comes out: rows, their verdicts, a table, and the same as JSON."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median, quantiles
from typing import Any, Literal

Unit = Literal["/s", "s", "ms", "%", "MiB"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value; of several rounds, their median."""

    value: float
    unit: Unit

    def __str__(self) -> str:
        """Write it with as many digits as mean something."""
        digits = 0 if self.value >= 1000 else 1 if self.value >= 10 else 3  # noqa: PLR2004
        gap = "" if self.unit in {"/s", "%"} else " "
        return f"{self.value:,.{digits}f}{gap}{self.unit}"


@dataclass(frozen=True, slots=True)
class Bar:
    """What is asked for: a ratio or a value of at least or at most a limit, or a value below it."""

    kind: Literal["ratio >=", "ratio <=", ">=", "<=", "<"]
    limit: Figure | float

    def holds(self, ours: Figure, ratio: float | None) -> bool:
        """Tell whether the bar is met."""
        if not isinstance(self.limit, Figure):
            if ratio is None:
                return False
            return ratio >= self.limit if self.kind == "ratio >=" else ratio <= self.limit
        value, limit = ours.value, self.limit.value
        match self.kind:
            case ">=":
                return value >= limit
            case "<":
                return value < limit
            case _:
                return value <= limit

    def __str__(self) -> str:
        """Write it as in the table."""
        if isinstance(self.limit, Figure):
            return f"{self.kind} {self.limit.value:g} {self.limit.unit}"
        return f"{self.kind.removeprefix('ratio ')} {self.limit:g}"


def limit(kind: Literal["<=", "<"], value: float | None, unit: Unit) -> Bar | None:
    """Return the bar of a value, or None where nothing is asked."""
    return None if value is None else Bar(kind, Figure(value, unit))


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: ours, what stands beside it, the ratio of the two, and the bar.

    Attributes:
        against: the figure beside ours; `who` names whose it is.
        ratio: ours to the other, or the median over the rounds of what that was in each.
        spread: the ratio's lower and upper quartile over the rounds.
    """

    measure: str
    ours: Figure
    who: str = ""
    against: Figure | None = None
    ratio: float | None = None
    spread: tuple[float, float] | None = None
    bar: Bar | None = None

    @property
    def verdict(self) -> str:
        """Say `ok` or `MISSED`, or nothing where no bar is set."""
        if self.bar is None:
            return ""
        return "ok" if self.bar.holds(self.ours, self.ratio) else "MISSED"

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        bar = None if self.bar is None else str(self.bar)
        return {**asdict(self), "bar": bar, "verdict": self.verdict}

    def cells(self) -> tuple[str, ...]:
        """Return the texts of the table's columns."""
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}"
        if self.spread is not None:
            ratio += f" ({self.spread[0]:.2f}-{self.spread[1]:.2f})"
        against = "" if self.against is None else f"{self.who} {self.against}"
        bar = "" if self.bar is None else str(self.bar)
        return self.measure, str(self.ours), against, ratio, bar, self.verdict


def rates(
    measure: str,
    count: int,
    ours: Sequence[float],
    theirs: Sequence[float],
    *,
    who: str,
    bar: float | None,
) -> Row:
    """Return the row of two who took turns: seconds of each round become jobs a second."""
    ratios = [their / our for our, their in zip(ours, theirs, strict=True)]
    return Row(
        measure=measure,
        ours=Figure(count / median(ours), "/s"),
        who=who,
        against=Figure(count / median(theirs), "/s"),
        ratio=median(ratios),
        spread=quartiles(ratios),
        bar=None if bar is None else Bar("ratio >=", bar),
    )


def durations(  # noqa: PLR0917 - the columns of one row
    measure: str, ours: Sequence[float], theirs: Sequence[float], who: str, unit: Unit, bar: float
) -> Row:
    """Return the row of two who took turns, of whose seconds fewer are better."""
    scale = 1000 if unit == "ms" else 1
    ratios = [mine / its for mine, its in zip(ours, theirs, strict=True)]
    return Row(
        measure=measure,
        ours=Figure(median(ours) * scale, unit),
        who=who,
        against=Figure(median(theirs) * scale, unit),
        ratio=median(ratios),
        spread=quartiles(ratios),
        bar=Bar("ratio <=", bar),
    )


def quartiles(ratios: Sequence[float]) -> tuple[float, float]:
    """Return the lower and the upper one; of one round, that."""
    lower, _, upper = (
        quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else [*ratios] * 3
    )
    return lower, upper


HEADINGS = ("measure", "ours", "against", "ratio (quartiles)", "bar", "verdict")


def table(rows: Sequence[Row]) -> str:
    """Return the table as text."""
    lines = [HEADINGS, *(row.cells() for row in rows)]
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    lines.insert(1, tuple("-" * width for width in widths))
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
