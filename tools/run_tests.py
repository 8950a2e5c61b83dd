"""Run the tests: `ds test: [modules] [--unit | --integration | --stress] [pytest's own arguments]`.

A module is the name of a folder in packages/. Without one, all packages and tests-integration run;
without a kind, everything but stress. Words may come in any order. Servers that tests need are
found or started, and installed if all else fails; `--no-install` keeps the system as it is.
"""

import argparse
import os
import re
import sys
from typing import NamedTuple, NoReturn

import pytest

from tools.commands import ROOT

NEEDS_MORE = "process or integration or redis or rabbitmq or docker or registry"
KINDS = {
    None: "not stress",
    "unit": f"not ({NEEDS_MORE} or stress)",
    "integration": f"({NEEDS_MORE}) and not stress",
    "stress": "stress",
}
WORKERS = 5
"""Processes that share the whole run: more than processors, for most tests wait for something."""

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
    may_install: bool = True


def main(words: list[str]) -> int:
    """Run the selected tests and return pytest's exit code."""
    asked = parse(words)
    os.environ.update(environment(asked))
    os.chdir(ROOT)
    arguments = [
        *plugins(asked),
        *workers(asked),
        "-m",
        asked.expression,
        *asked.passed_on,
        *folders(asked),
    ]
    code = int(pytest.main(arguments))
    if code == pytest.ExitCode.NO_TESTS_COLLECTED:
        print(f"No tests match: {' '.join(words) or 'everything'}. That is counted as a failure.")
    return code


def parse(words: list[str]) -> Selection:
    """Sort the words into ours, modules, and pytest's."""
    parser = argparse.ArgumentParser(
        prog="ds test:",
        usage="%(prog)s [module ...] [--unit | --integration | --stress] [--no-install]"
        " [pytest arguments]",
        description=f"Modules: {', '.join(modules())}. A server that tests need is taken from"
        " MINDTRACE_TEST_REDIS_URL, MINDTRACE_TEST_RABBITMQ_URL, MINDTRACE_TEST_DOCKER_HOST or"
        " MINDTRACE_TEST_REGISTRY_URL, or found where it usually is, or started from a binary,"
        " or in Docker, or installed with apt-get.",
        allow_abbrev=False,
    )
    kinds = parser.add_mutually_exclusive_group()
    for kind, what in (
        ("unit", "what needs neither processes nor servers"),
        ("integration", "the rest, with tests-integration"),
        ("stress", "only the tests that take minutes, with a deeper random search"),
    ):
        kinds.add_argument(f"--{kind}", dest="kind", action="store_const", const=kind, help=what)
    parser.add_argument("--no-install", action="store_true", help="do not call apt-get")
    known, rest = parser.parse_known_args(words)
    chosen, markers, passed_on = sort_out(rest)
    expression = " and ".join(f"({each})" for each in [*markers, KINDS[known.kind]])
    return Selection(known.kind, chosen, expression, passed_on, not known.no_install)


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


def plugins(asked: Selection) -> list[str]:
    """Load what finds test servers, unless nothing selected can need one."""
    return [] if asked.kind == "unit" else ["-p", "tools.services.plugin"]


def workers(asked: Selection) -> list[str]:
    """Run everything in several processes, unless somebody says how: most tests wait for something.

    Those that start a server of their own share one process, and so that server.
    """
    everything = not asked.modules and asked.kind in {None, "integration"} and folders(asked)
    said = any(
        re.match(r"-[nsx]|--(pdb|dist|numprocesses|capture)", word) for word in asked.passed_on
    )
    return ["-n", str(WORKERS), "--dist", "loadgroup"] if everything and not said else []


def environment(asked: Selection) -> dict[str, str]:
    """Return the settings that a kind of test needs; the servers add theirs."""
    settings = {"MINDTRACE_TEST_MAY_INSTALL": "1" if asked.may_install else "0"}
    if asked.kind == "stress":
        settings["MINDTRACE_STRESS"] = "1"
    return settings


def refuse(why: str) -> NoReturn:
    """End with one line and the exit code of wrong usage."""
    print(f"ds test: {why}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
