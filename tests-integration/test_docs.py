"""The documentation, tried out: its Python runs, its commands exist, its tables and links hold.

The Python blocks of a page run together, from top to bottom, in a folder of their own. A block with
a file's name after the word `python` is written to that file; later blocks use it, and pytest runs
it if it is a `test_*.py`.
"""

import contextlib
import importlib.util
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from mindtrace.cluster.__main__ import app as cluster_command
from mindtrace.cluster.run_script.settings import RunScriptSettings
from mindtrace.cluster.settings import ClusterSettings
from mindtrace.jobs.lifecycle import TRANSITIONS, JobState
from mindtrace.jobs.testing import BackendContract

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from tools import bench, run_tests  # noqa: E402 - the tools are no package of the environment

PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(ROOT.glob("packages/*/README.md")),
    *sorted(ROOT.glob("docs/**/*.md")),
    ROOT / "samples" / "README.md",
]
LIFE_CYCLE = ROOT / "docs" / "job-life-cycle.md"
DECISIONS = sorted(ROOT.glob("docs/adr/[0-9]*.md"))
RULES = 23


class Block(NamedTuple):
    """A fenced block: what stands behind the fence, the line of its first line, and its text."""

    language: str
    file: str
    line: int
    text: str


def blocks(page: Path) -> Iterator[Block]:
    found = re.compile(r"^```(\w*) ?(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    text = page.read_text(encoding="utf-8")
    for match in found.finditer(text):
        language, file, body = match.groups()
        yield Block(language, file, text.count("\n", 0, match.start(3)), body)


def python_of(page: Path) -> list[Block]:
    return [block for block in blocks(page) if block.language == "python"]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def table_after(page: Path, *headings: str) -> list[list[str]]:
    """Return the rows of the table with these headings, without those two lines of its head."""
    lines = iter(page.read_text(encoding="utf-8").splitlines())
    head = f"| {' | '.join(headings)} |"
    assert head in lines, f"{name_of(page)} has no table {head}"
    next(lines)
    rows = takewhile(lambda line: line.startswith("|"), lines)
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


# the code


@pytest.mark.process
@pytest.mark.parametrize("page", [page for page in PAGES if python_of(page)], ids=name_of)
def test_the_python_of_a_page_runs(page: Path, tmp_path: Path) -> None:
    script: list[str] = []
    for block in python_of(page):
        if block.file:
            (tmp_path / block.file).write_text(block.text, encoding="utf-8")
        else:
            # blank lines in between, so that a traceback names the line of the page
            script += [""] * (block.line - len(script)) + block.text.splitlines()
    (tmp_path / page.name).write_text("\n".join(script), encoding="utf-8")

    run(tmp_path, page.name)
    for block in python_of(page):
        if block.file.startswith("test_"):
            options = ["-c", os.devnull, "--rootdir", ".", "-p", "no:cacheprovider", "-q"]
            if block.file == "test_contract.py":
                # a whole contract takes long, and is run with the package whose example this is
                options += ["--collect-only", "-o", "markers=process: as the page says"]
            run(tmp_path, "-m", "pytest", *options, block.file)


@pytest.mark.process
@pytest.mark.parametrize(
    ("page", "backend"),
    [
        pytest.param("README.md", "redis", marks=pytest.mark.redis),
        pytest.param("docs/guides/moving-to-another-backend.md", "redis", marks=pytest.mark.redis),
        pytest.param(
            "docs/guides/moving-to-another-backend.md", "rabbitmq", marks=pytest.mark.rabbitmq
        ),
    ],
)
def test_the_python_of_a_page_runs_on_a_server_that_a_setting_names(
    request: pytest.FixtureRequest, tmp_path: Path, page: str, backend: str
) -> None:
    url = request.getfixturevalue(f"{backend}_url")
    script = "\n".join(block.text for block in python_of(ROOT / page))
    assert "Orchestrator()" in script, "the page takes its backend from the setting"
    (tmp_path / "page.py").write_text(script, encoding="utf-8")

    run(tmp_path, "page.py", MINDTRACE_JOBS__BACKEND_URL=url)

    assert not (tmp_path / "state").exists(), "nothing is kept on this machine instead"


def run(folder: Path, *words: str, **env: str) -> None:
    """Run Python in a folder, with all state in it; fail with what it said."""
    strange = ("MINDTRACE_", "PYTEST_", "COV_")
    inherited = {name: it for name, it in os.environ.items() if not name.startswith(strange)}
    done = subprocess.run(
        [sys.executable, "-W", "error", *words],
        cwd=folder,
        env=inherited | {"MINDTRACE_DIR_PATHS__ROOT": str(folder / "state")} | env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_file_of_a_page_is_used_on_it(page: Path) -> None:
    text = page.read_text(encoding="utf-8")

    for block in python_of(page):
        module = Path(block.file).stem
        uses = len(re.findall(rf"\b{module}\b", text)) if module else 2

        assert uses > 1 or module.startswith("test_"), f"nothing on the page uses {block.file}"


def test_the_quick_start_is_short() -> None:
    quick_start, *_ = python_of(ROOT / "README.md")

    assert len([line for line in quick_start.text.splitlines() if line.strip()]) <= 25


# the commands


def commands(page: Path) -> Iterator[list[str]]:
    """List the commands of a page: of its console blocks, and whole commands in backquotes."""
    shell = ("console", "bash", "sh", "")
    lines = [line for b in blocks(page) if b.language in shell for line in b.text.splitlines()]
    lines += re.findall(r"`([^`\n]+ [^`\n]+)`", page.read_text(encoding="utf-8"))
    for line in lines:
        with contextlib.suppress(ValueError):  # a quotation mark of Python is none of a shell
            yield shlex.split(line.removeprefix("$ "), comments=True)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_commands_of_a_page_that_are_ours_exist(page: Path) -> None:
    for words in commands(page):
        problem = problem_of(words)

        assert problem is None, f"{name_of(page)}: {shlex.join(words)}: {problem}"


def problem_of(words: list[str]) -> str | None:
    """Say what is wrong with a command; None if nothing is, or if it is not ours."""
    match words:
        case ["python3", "dev.py", name, *rest]:
            return problem_of_script(name, rest)
        case ["uv", "run", "ds", name, *rest] | ["ds", name, *rest]:
            return problem_of_script(name.removesuffix(":"), rest)
        case ["pip", "install", *packages]:
            problems = (problem_of_package(each) for each in packages if each[0] != "-")
            return next((each for each in problems if each), None)
        case ["python" | "python3", "-m", module, *_]:
            exists = importlib.util.find_spec(module) is not None
        case ["python" | "python3", file, *_] if file.startswith(("samples/", "tools/")):
            exists = (ROOT / file).exists()
        case ["mindtrace-cluster", verb, *rest]:
            return problem_of_cluster_command(verb, rest)
        case [file, *_] if file.startswith(("./", ".ci/")):
            exists = os.access(ROOT / file, os.X_OK)
        case _:
            exists = True
    return None if exists else "there is no such thing"


def problem_of_script(name: str, rest: list[str]) -> str | None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    if name not in settings["tool"]["ds"]["scripts"]:
        return f"there is no script {name!r}"
    try:
        match name:
            case "test":
                run_tests.parse(rest)
            case "bench":
                bench.parse(rest)
            case "sample" if rest and not (
                list(ROOT.glob(f"samples/*/{rest[0]}.py"))
                or (ROOT / "samples" / f"{rest[0]}.py").exists()
            ):
                return f"there is no sample {rest[0]!r}"
            case _:
                pass
    except SystemExit:
        return f"{name} does not take {shlex.join(rest)}"
    return None


def problem_of_cluster_command(verb: str, rest: list[str]) -> str | None:
    command = get_command(cluster_command)
    assert isinstance(command, TyperGroup)
    if verb not in command.commands:
        return f"there is no command {verb!r}"
    try:
        command.commands[verb].make_context(verb, rest)
    except Exception as error:  # noqa: BLE001 - of a module that is not always the same
        return f"{verb} does not take it: {error}"
    return None


def problem_of_package(wanted: str) -> str | None:
    found = re.fullmatch(r"(mindtrace-[\w-]+)(?:\[([\w,-]+)\])?", wanted)
    if not found:
        return None
    package = ROOT / "packages" / found[1].removeprefix("mindtrace-") / "pyproject.toml"
    if not package.exists():
        return f"{found[1]} is not in this release"
    project = tomllib.loads(package.read_text(encoding="utf-8"))["project"]
    extras = set(found[2].split(",")) if found[2] else set[str]()
    missing = extras - set(project.get("optional-dependencies", {}))
    return f"{found[1]} has no extra {', '.join(missing)}" if missing else None


def test_a_wrong_command_is_noticed() -> None:
    wrong = (
        "python3 dev.py tests",
        "python3 dev.py bench: jobs",
        "python3 dev.py bench jobs --backend paper",
        "uv run ds sample: no_such_sample",
        "pip install mindtrace-jobs[paper]",
        "python -m no_such_module",
        "python samples/no_such_sample.py",
        "mindtrace-cluster worker",
        "mindtrace-cluster node --host 10.0.0.1",
        "mindtrace-cluster manager --post 8002",
        ".ci/walk",
    )

    assert [line for line in wrong if problem_of(shlex.split(line)) is None] == []


def test_the_readme_begins_with_five_lines_and_two_commands() -> None:
    readme = ROOT / "README.md"
    _, about, *_ = readme.read_text(encoding="utf-8").split("\n\n")

    first = next(blocks(readme))

    assert len(about.splitlines()) == 5
    assert (first.language, first.text) == (
        "console",
        "python3 dev.py sample\npython3 dev.py test\n",
    )


# the life cycle


def state_named(name: str) -> JobState | None:
    return None if name in {"outside", "[*]"} else JobState[name.upper()]


def test_the_table_of_transitions_is_that_of_the_code() -> None:
    rows = table_after(LIFE_CYCLE, "cause", "from", "to")

    assert [(cause, state_named(a), state_named(b)) for cause, a, b in rows] == list(TRANSITIONS)


def test_the_diagram_has_every_transition_and_no_other() -> None:
    (diagram,) = [block.text for block in blocks(LIFE_CYCLE) if block.language == "mermaid"]

    arrows = re.findall(r"^ +(\S+) --> (\S+): (.+)$", diagram, re.MULTILINE)

    drawn = {(cause, state_named(a), state_named(b)) for a, b, cause in arrows}
    assert drawn == set(TRANSITIONS)
    assert len(arrows) == len(diagram.splitlines()) - 1 == len(TRANSITIONS)


def test_the_table_of_states_has_each_state() -> None:
    rows = table_after(LIFE_CYCLE, "state", "the job", "`handle.status`")

    assert {state_named(state) for state, *_ in rows} == set(JobState)


def test_the_rules_are_numbered_and_the_contract_has_a_class_for_each() -> None:
    headings = re.findall(r"^### (\d+)\. ", LIFE_CYCLE.read_text(encoding="utf-8"), re.MULTILINE)

    checked = {int(name[8:10]) for name in dir(BackendContract) if name.startswith("TestRule")}

    assert [int(number) for number in headings] == list(range(1, RULES + 1))
    assert checked == set(range(1, RULES + 1))


# the cluster


def test_the_table_of_settings_for_commands_has_each_setting() -> None:
    page = (ROOT / "docs" / "run-script.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[A-Z].*?) \|", page.rpartition("## Settings")[2], re.MULTILINE)

    named = {name for row in rows for name in re.findall(r"`([A-Z_]+?)(?:__<NAME>)?`", row)}
    assert {name.upper() for name in RunScriptSettings.model_fields} == named


def test_the_table_of_settings_has_each_setting() -> None:
    rows = table_after(ROOT / "docs" / "cluster.md", "`MINDTRACE_CLUSTER__...`", "effect")

    named = {name for row in rows for name in re.findall(r"`([A-Z_]+)`", row[0])}
    assert {name.upper() for name in ClusterSettings.model_fields} | {"DEFAULT_REDIS_URL"} == named


# samples


def test_every_sample_is_on_the_page_of_samples() -> None:
    page = ROOT / "samples" / "README.md"

    linked = set(re.findall(r"\]\((\w+/\w+\.py)\)", page.read_text(encoding="utf-8")))

    samples = {path.relative_to(page.parent) for path in page.parent.glob("*/*.py")}
    assert linked == {path.as_posix() for path in samples}


# pages


@pytest.mark.parametrize("page", DECISIONS, ids=name_of)
def test_a_decision_has_its_five_parts_and_is_listed(page: Path) -> None:
    text = page.read_text(encoding="utf-8")

    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == [
        "Context",
        "Decision",
        "Consequences",
        "Alternatives",
        "Evidence",
    ]
    assert text.startswith(f"# {page.name[:4]} ")
    assert f"({page.name})" in (page.parent / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")

    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = link.partition("#")
        if ":" in path:
            continue  # another site
        target = (page.parent / path).resolve() if path else page

        assert target.exists(), f"{link}: there is no such file"
        assert not anchor or anchor in anchors(target), f"{link}: there is no such heading"


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each).lower().replace(" ", "-") for each in headings}


def test_every_page_is_reached_from_the_readme() -> None:
    seen = {ROOT / "README.md"}
    waiting = list(seen)
    while waiting:
        page = waiting.pop()
        links = re.findall(r"\]\(([^)#\s:]+\.md)", page.read_text(encoding="utf-8"))
        new = {(page.parent / link).resolve() for link in links} - seen
        seen |= new
        waiting += new

    assert set(PAGES) <= seen
