"""Run the tests: `ds test: [modules] [--unit | --integration | --stress] [pytest's own arguments]`.

A module is the name of a folder in packages/. Without one, all packages and tests-integration run;
without a kind, everything but stress. Words may come in any order.
"""

import argparse
import os
import re
import sys
from typing import NamedTuple, NoReturn

import pytest

from tools.commands import ROOT

NEEDS_MORE = "process or integration or redis or rabbitmq"
KINDS = {
    None: "not stress",
    "unit": f"not ({NEEDS_MORE} or stress)",
    "integration": f"({NEEDS_MORE}) and not stress",
    "stress": "stress",
}
# Options of pytest that take the next word, which is then no module.
TAKES_A_WORD = re.compile(
    r"-[ncoprW]|--(maxfail|durations|timeout|cov-report|cov-fail-under|junit-?xml|ignore(-glob)?"
    r"|deselect|tb|capture|numprocesses|dist|basetemp|color|override-ini|log(-cli)?-level|verbosity"
    r"|hypothesis-(seed|profile))"
)


class Selection(NamedTuple):
    """What the command line asks for."""

    kind: str | None
    modules: list[str]
    expression: str
    passed_on: list[str]


def main(words: list[str]) -> int:
    """Run the selected tests and return pytest's exit code."""
    asked = parse(words)
    os.environ.update(environment(asked.kind))
    os.chdir(ROOT)
    arguments = ["-m", asked.expression, *asked.passed_on, *folders(asked)]
    code = int(pytest.main(arguments))
    if code == pytest.ExitCode.NO_TESTS_COLLECTED:
        print(f"No tests match: {' '.join(words) or 'everything'}. That is counted as a failure.")
    return code


def parse(words: list[str]) -> Selection:
    """Sort the words into ours, modules, and pytest's."""
    parser = argparse.ArgumentParser(
        prog="ds test:",
        usage="%(prog)s [module ...] [--unit | --integration | --stress] [pytest arguments]",
        description=f"Modules: {', '.join(modules())}.",
        allow_abbrev=False,
    )
    kinds = parser.add_mutually_exclusive_group()
    for kind, what in (
        ("unit", "what needs neither processes nor servers"),
        ("integration", "the rest, with tests-integration"),
        ("stress", "only the tests that take minutes, with a deeper random search"),
    ):
        kinds.add_argument(f"--{kind}", dest="kind", action="store_const", const=kind, help=what)
    known, rest = parser.parse_known_args(words)
    chosen, markers, passed_on = sort_out(rest)
    expression = " and ".join(f"({each})" for each in [*markers, KINDS[known.kind]])
    return Selection(known.kind, chosen, expression, passed_on)


def sort_out(words: list[str]) -> tuple[list[str], list[str], list[str]]:
    """Tell modules, marker expressions and other words for pytest apart."""
    chosen: list[str] = []
    markers: list[str] = []
    passed_on: list[str] = []
    while words:
        word = words.pop(0)
        if word in {"-k", "-m"}:
            expression = take_expression(words)
            passed_on += ["-k", expression] if word == "-k" else []
            markers += [expression] if word == "-m" else []
        elif TAKES_A_WORD.fullmatch(word):
            passed_on += [word, *words[:1]]
            del words[:1]
        elif word.startswith("-") or "/" in word or "::" in word:
            passed_on.append(word)
        elif word in modules():
            chosen.append(word)
        else:
            refuse(f"unknown module {word!r}; the modules are: {', '.join(modules())}.")
    return chosen, markers, passed_on


def take_expression(words: list[str]) -> str:
    """Take the value of -k or -m, joining again what lost its quotes on the way: `a or not b`."""
    taken = words[:1]
    del words[:1]
    while words and (taken[-1] in {"and", "or", "not"} or words[0] in {"and", "or"}):
        taken.append(words.pop(0))
    return " ".join(taken)


def modules() -> list[str]:
    """Name the packages that have tests."""
    return sorted(path.parent.name for path in ROOT.glob("packages/*/tests"))


def folders(asked: Selection) -> list[str]:
    """Name the folders to collect; a path on the command line takes their place."""
    if any("/" in word and not word.startswith("-") for word in asked.passed_on):
        return []
    found = [f"packages/{name}/tests" for name in asked.modules or modules()]
    together = asked.kind == "integration" or (asked.kind != "unit" and not asked.modules)
    if together and (ROOT / "tests-integration").is_dir():
        found.append("tests-integration")
    return found


def environment(kind: str | None) -> dict[str, str]:
    """Return the settings a kind of test needs; the addresses of test servers belong here too."""
    return {"MINDTRACE_STRESS": "1"} if kind == "stress" else {}


def refuse(why: str) -> NoReturn:
    """End with one line and the exit code of wrong usage."""
    print(f"ds test: {why}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
