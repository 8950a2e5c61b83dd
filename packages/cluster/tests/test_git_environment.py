"""uv makes environments of what checkouts declare; nothing comes from a network here."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from threading import Event

import pytest
from cluster_support import eventually
from git_support import Origin, wheel

import mindtrace.cluster
from mindtrace.cluster.errors import CheckoutError, DependenciesError, InvalidSourceError
from mindtrace.cluster.git import environment as environments
from mindtrace.cluster.git.access import Access
from mindtrace.cluster.git.checkout import Checkout
from mindtrace.cluster.git.environment import Environment
from mindtrace.cluster.git.project import Project
from mindtrace.cluster.git.source import Source
from mindtrace.cluster.git.workplace import Workplace

pytestmark = pytest.mark.process

BACKEND = """
import zipfile
def build_wheel(folder, config_settings=None, metadata_directory=None):
    name = "own-1.0-py3-none-any.whl"
    about = "own-1.0.dist-info"
    files = {
        "own.py": open("src/own.py").read(),
        f"{about}/METADATA": "Metadata-Version: 2.1\\nName: own\\nVersion: 1.0\\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
        f"{about}/RECORD": "",
    }
    with zipfile.ZipFile(f"{folder}/{name}", "w") as archive:
        for each, text in files.items():
            archive.writestr(each, text)
    return name
"""
"""Builds the project itself, as a build tool does that would have to be downloaded."""

PACKAGE = """
[project]
name = "own"
version = "1.0"
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_OFFLINE", "1")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def origin(tmp_path: Path) -> Origin:
    return Origin(tmp_path / "origin")


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    """A requirement of a wheel."""
    return f"tiny @ file://{wheel(tmp_path, 'tiny', '1.2', tiny='where = __file__')}"


Made = Callable[..., Environment]


@pytest.fixture
def made(origin: Origin, cache: Path) -> Iterator[Made]:
    """Makes the environment of the origin as it is."""
    opened: list[Environment] = []

    def make(*, beside_node: bool = True, **named: str) -> Environment:
        source = Source(origin.url, **named)
        with Checkout.make(source, cache, Access()) as checkout:
            project = Project.of(checkout, source)
            assert project is not None
            opened.append(Environment.make(project, cache, beside_node=beside_node))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


def said(environment: Environment, program: str) -> str:
    """Return what a program prints in an environment."""
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [environment.python, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, env=variables, check=False)
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]


def test_requirements_are_installed_and_the_rest_is_the_nodes(
    origin: Origin, made: Made, tiny: str
) -> None:
    origin.commit({"requirements.txt": f"{tiny}\nmindtrace-cluster>=99  # is there already\n"})

    environment = made()

    where = "import tiny, sys; print(tiny.where.startswith(sys.prefix), sys.prefix)"
    assert said(environment, where) == f"True {environment.folder}"
    ours = "from importlib.util import find_spec; print(find_spec('mindtrace.cluster').origin)"
    assert said(environment, ours) == mindtrace.cluster.__file__
    assert said(environment, "import sys; print(*sys.version_info[:3])") == " ".join(
        map(str, sys.version_info[:3])
    )


def test_what_is_installed_hides_what_the_node_has(
    origin: Origin, made: Made, tmp_path: Path
) -> None:
    path = wheel(tmp_path, "pydantic", "99.0", pydantic="mine = True")
    origin.commit({"requirements.txt": f"pydantic @ file://{path}\n"})

    assert said(made(), "import pydantic; print(pydantic.mine)") == "True"


def test_an_environment_beside_no_node_has_what_was_declared_alone(
    origin: Origin, made: Made, tiny: str
) -> None:
    origin.commit({"requirements.txt": tiny})

    environment = made(beside_node=False)

    assert "tiny" in said(environment, "import tiny; print(tiny.where)")
    assert "ModuleNotFoundError" in said(environment, "import pydantic")


def test_equal_requirements_share_an_environment(origin: Origin, made: Made, tiny: str) -> None:
    origin.commit({"requirements.txt": tiny})
    first = made()
    origin.commit({"other.txt": "changed"})
    second = made()
    origin.commit({"requirements.txt": f"{tiny}\n# changed\n"})
    third = made()

    assert first.folder == second.folder
    assert third.folder != first.folder


@pytest.mark.parametrize("reference", ["-r more.txt", "-e .", "./own", "own @ file:own", "a/b"])
def test_what_refers_to_the_checkout_is_not_shared_with_another_commit(
    origin: Origin, cache: Path, reference: str
) -> None:
    source = Source(origin.url)

    def identity() -> tuple[str, ...]:
        with Checkout.make(source, cache, Access()) as checkout:
            project = Project.of(checkout, source)
            assert project is not None
            return project.identity

    origin.commit({"requirements.txt": f"tiny>=1\n{reference}\n"})
    first = identity()
    origin.commit()
    assert identity() != first


def test_a_locked_project_gets_what_is_locked(
    origin: Origin, made: Made, tmp_path: Path, tiny: str
) -> None:
    ours = wheel(tmp_path, "mindtrace_core", "99.0", wrong="")
    project = (
        '[project]\nname = "app"\nversion = "1"\nrequires-python = ">=3.11"\n'
        f'dependencies = ["{tiny}", "mindtrace-core @ file://{ours}"]\n'
        '[dependency-groups]\ndev = ["not-to-be-had"]\n'
    )
    dev = project.replace("not-to-be-had", f"{tiny}")
    origin.commit({"app/pyproject.toml": dev, "worker/x.txt": ""})
    subprocess.run(
        [environments.uv(), "lock", "--quiet", "--python", sys.executable],
        cwd=origin.folder / "app",
        check=True,
    )
    wheel(tmp_path, "tiny", "1.3", tiny="")
    origin.commit()

    environment = made(working_dir="worker", project="app")

    assert "tiny" in said(environment, "import tiny; print(tiny.where)")
    found = "from importlib.metadata import version; print(version('mindtrace-core'))"
    assert said(environment, found) == version("mindtrace-core")


def test_a_package_is_installed_as_it_is_at_its_commit(origin: Origin, made: Made) -> None:
    program = "import own, sys; print(own.value, own.__file__.startswith(sys.prefix))"
    files = {"pyproject.toml": PACKAGE, "backend.py": BACKEND}
    origin.commit({**files, "src/own.py": "value = 1", "worker/x.txt": ""})
    first = made(working_dir="worker")
    origin.commit({"src/own.py": "value = 2"})

    assert said(first, program) == "1 True"
    assert said(made(), program) == "2 True"


def test_a_project_that_is_no_package_gets_its_dependencies(
    origin: Origin, made: Made, tiny: str
) -> None:
    needs = f'dependencies = ["{tiny}", "mindtrace-jobs>=99"]'
    origin.commit({"pyproject.toml": f'[project]\nname = "app"\nversion = "1"\n{needs}\n'})

    assert "tiny" in said(made(), "import tiny; print(tiny.where)")


def test_settings_of_tools_are_no_project(origin: Origin, cache: Path) -> None:
    origin.commit({"worker/pyproject.toml": "[tool.ruff]\n", "worker/a.txt": "", "app/a.txt": ""})
    source = Source(origin.url, working_dir="worker")

    with Checkout.make(source, cache, Access()) as checkout:
        assert Project.of(checkout, source) is None
        with pytest.raises(CheckoutError, match=r"'app' has neither a pyproject.toml nor a"):
            Project.of(checkout, Source(origin.url, project="app"))


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"requirements.txt": "not-to-be-had==1"}, "not-to-be-had"),
        ({"requirements.txt": "x y z"}, "uv says:"),
        ({"pyproject.toml": "[project"}, "its pyproject.toml cannot be read"),
        ({"pyproject.toml": PACKAGE, "backend.py": "raise LookupError('no compiler')"}, "no compi"),
    ],
)
def test_what_cannot_be_installed_is_named_and_left_out(
    origin: Origin, cache: Path, files: dict[str, str], problem: str
) -> None:
    origin.commit(files)

    with pytest.raises(DependenciesError) as caught:
        Workplace.make(Source(origin.url), cache, Access())

    assert f"environment of {origin.url} could not be made" in str(caught.value)
    assert problem in str(caught.value)
    assert list(cache.glob("checkouts/*")) == []
    assert list(cache.glob("environments/*/mindtrace-made")) == []


def test_a_link_to_a_project_elsewhere_is_refused(origin: Origin, cache: Path) -> None:
    (origin.folder / "app").symlink_to("..")
    origin.commit()

    with pytest.raises(InvalidSourceError, match=r"The project 'app' .* leads out"):
        Workplace.make(Source(origin.url, project="app"), cache, Access())


@pytest.mark.parametrize("name", ["requirements.txt", "pyproject.toml"])
def test_a_declaration_outside_of_the_checkout_or_without_end_is_not_read(
    tmp_path: Path, origin: Origin, made: Made, name: str
) -> None:
    (tmp_path / "ours").write_text("[project]")
    (origin.folder / name).symlink_to(tmp_path / "ours")
    origin.commit()
    with pytest.raises(DependenciesError, match=f"a link makes a file outside of it its {name}"):
        made()

    (origin.folder / name).unlink()
    origin.commit({name: "#" * (33 * 1024**2)})
    with pytest.raises(DependenciesError, match=f"its {name} is larger than 32 MiB"):
        made()


def test_a_build_sees_no_secret(
    origin: Origin, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GIT_FINE_GRAINED_TOKEN", "MINDTRACE_SERVICES__API_TOKEN", "mindtrace_x__token"):
        monkeypatch.setenv(name, "very-secret")
    spy = "import os\nopen('src/own.py', 'w').write(f'seen = {list(os.environ.values())!r}')\n"
    origin.commit({"pyproject.toml": PACKAGE, "backend.py": spy + BACKEND, "src/own.py": ""})

    assert said(made(), "import own; print('very-secret' in own.seen, len(own.seen) > 3)") == (
        "False True"
    )


def test_many_who_need_the_same_make_it_once(cache: Path) -> None:
    def make(_: object) -> tuple[Path, float]:
        environment = Environment.make(None, cache, beside_node=True)
        made = (environment.folder / "pyvenv.cfg").stat().st_ctime
        # held on, as by a worker that runs
        held.append(environment)
        return environment.folder, made

    held: list[Environment] = []
    with ThreadPoolExecutor(6) as pool:
        found = set(pool.map(make, range(6)))

    assert len(found) == 1
    for each in held:
        each.close()


def test_one_that_was_not_finished_is_made_anew(cache: Path) -> None:
    environment = Environment.make(None, cache, beside_node=True)
    environment.close()
    (environment.folder / "mindtrace-made").unlink()
    environment.python.unlink()

    again = Environment.make(None, cache, beside_node=True)

    assert again.folder == environment.folder
    assert said(again, "print('runs')") == "runs"
    again.close()


def test_those_used_longest_ago_make_room_unless_they_are_in_use(
    origin: Origin, made: Made, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environments, "KEPT", 1)
    kept: list[Environment] = []
    for number in range(3):
        origin.commit({"requirements.txt": f"# {number}\n"})
        kept.append(made())
        os.utime(kept[-1].folder / "mindtrace-made", (number, number))
    assert all(each.python.exists() for each in kept)
    kept[0].close()

    made()

    assert [each.python.exists() for each in kept] == [False, True, True]


def test_an_installation_that_hangs_ends_when_it_is_to_stop(
    origin: Origin, cache: Path, tmp_path: Path
) -> None:
    begun = tmp_path / "begun"
    hangs = (
        f"import os, threading\nopen({str(begun)!r}, 'w').write(str(os.getpid()))\n"
        "threading.Event().wait(600)\n"
    )
    origin.commit({"pyproject.toml": PACKAGE, "backend.py": hangs})
    stop = Event()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(Workplace.make, Source(origin.url), cache, Access(), stop)
        eventually(lambda: begun.exists() and begun.read_text())
        stop.set()
        with pytest.raises(DependenciesError, match="could not be made: it was stopped"):
            waiting.result(60)

    process = Path("/proc") / begun.read_text()
    eventually(lambda: not process.exists())


def test_without_uv_it_is_said_what_to_install(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setitem(sys.modules, "uv", None)

    with pytest.raises(ImportError, match=r"pip install 'mindtrace-cluster\[git\]'"):
        Environment.make(None, cache, beside_node=True)


def test_without_a_uv_on_the_path_that_of_the_package_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")

    assert Path(environments.uv()).is_file()
