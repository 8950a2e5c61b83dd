"""A class that this process does not have, served by another Python in another folder."""

from __future__ import annotations

import json
import sys
import venv
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import HttpUrl
from services_support import environment

from mindtrace.services import ServiceLaunchError
from mindtrace.services.interpreter import Interpreter
from mindtrace.services.launching import Launch, launch
from mindtrace.services.samples.echo_service import EchoService

if TYPE_CHECKING:
    from collections.abc import Generator

pytestmark = pytest.mark.process

ELSEWHERE = """
import json, os, sys
from mindtrace.core import get_config
from mindtrace.services.samples.echo_service import EchoOutput, EchoService

class Revealing(EchoService):
    def __init__(self, *, greeting="", **kwargs):
        super().__init__(**kwargs)
        self.greeting = greeting

    def echo(self, payload):
        config = get_config()
        facts = {
            "greeting": self.greeting,
            "prefix": sys.prefix,
            "folder": os.getcwd(),
            "first": sys.path[0],
            "python path": os.environ.get("PYTHONPATH"),
            "venv": os.environ["VIRTUAL_ENV"],
            "programs": os.environ["PATH"].split(os.pathsep)[0],
            "level": config.logger.level,
            "root": str(config.dir_paths.root),
        }
        return EchoOutput(echoed=json.dumps(facts))

class Unrelated:
    pass
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another Python, which finds our packages after its own."""
    folder = tmp_path_factory.mktemp("python")
    venv.create(folder, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    ours = [each for each in sys.path if Path(each).is_absolute()]
    (packages / "ours.pth").write_text("\n".join(ours))
    return folder / "bin" / "python"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "hidden_from_us.py").write_text(ELSEWHERE)
    return folder


@contextmanager
def launched_by(python: Path, folder: Path, target: str, **params: Any) -> Generator[Any]:
    plan = Launch(
        EchoService,
        HttpUrl("http://localhost:0"),
        init_params=params,
        target=target,
        interpreter=Interpreter(str(python), folder),
    )
    manager: Any = launch(plan, wait=True, block=False, shows=False)
    try:
        yield manager
    finally:
        manager.end()


def test_another_python_serves_a_class_by_its_name(
    python: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("MINDTRACE_LOGGER__LEVEL=error\n")
    (folder / ".env").write_text("MINDTRACE_LOGGER__LEVEL=debug\n")
    variables = {"PYTHONPATH": str(tmp_path), "MINDTRACE_DIR_PATHS__ROOT": "data"}

    with (
        environment(**variables),
        launched_by(python, folder, "hidden_from_us.Revealing", greeting="hello") as manager,
    ):
        assert type(manager).__name__ == "EchoServiceConnectionManager"
        assert manager.class_name().class_name == "Revealing"
        facts = json.loads(manager.echo(message="").echoed)
        assert Path(manager.pid_file().pid_file).parent == tmp_path / "data" / "server_pids"

    assert facts == {
        "greeting": "hello",
        "prefix": str(python.parent.parent),
        "folder": str(folder),
        "first": str(folder),
        "python path": None,
        "venv": str(python.parent.parent),
        "programs": str(python.parent),
        "level": "ERROR",
        "root": str(tmp_path / "data"),
    }
    assert list((tmp_path / "data" / "server_pids").iterdir()) == []


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ("hidden_from_us.Missing", "'hidden_from_us' has no 'Missing'"),
        ("hidden_from_us.Unrelated", "hidden_from_us.Unrelated is no EchoService: it does not"),
    ],
)
def test_a_name_that_is_no_such_class_is_named(
    python: Path, folder: Path, target: str, problem: str
) -> None:
    with (
        pytest.raises(
            ServiceLaunchError, match=rf"{target.split('.')[1]} did not start: .*{problem}"
        ),
        launched_by(python, folder, target),
    ):
        pass


def test_a_python_that_is_not_there_is_named(folder: Path) -> None:
    with (
        pytest.raises(ServiceLaunchError, match=r"no process could be started .*no-such-python"),
        launched_by(Path("/no-such-python"), folder, "hidden_from_us.Revealing"),
    ):
        pass
