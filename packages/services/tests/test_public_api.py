from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import mindtrace.services

SOURCE = Path(mindtrace.services.__file__).parent
README = SOURCE.parents[2] / "README.md"

PUBLIC = [
    "AccessDeniedError",
    "ConnectionManager",
    "Gateway",
    "Heartbeat",
    "InsecureBindError",
    "ProxyConnectionManager",
    "RequestInvalidError",
    "ServerStatus",
    "Service",
    "ServiceError",
    "ServiceLaunchError",
    "ServicePortInUseError",
    "ServiceTimeoutError",
    "ServiceUnavailableError",
    "ServicesSettings",
    "endpoint",
    "generate_connection_manager",
    "register_connection_manager",
]

IMPORT_QUIETLY = """
import sys
import mindtrace.services
loaded = {name for name in sys.modules if name.startswith("mindtrace.")}
assert loaded == {"mindtrace.services"}, loaded
assert not {"fastapi", "uvicorn", "httpx", "pydantic", "asyncio"} & set(sys.modules)
"""

CALL_WITHOUT_SERVING = """
import sys
from mindtrace.services.samples.echo_service import EchoService
EchoService.client_class()("http://localhost:1")
assert not {"fastapi", "uvicorn", "starlette", "uvloop"} & set(sys.modules)
"""

LEAVES_LOGGING_ALONE = """
import logging
from mindtrace.services.samples.echo_service import EchoService
EchoService().app
assert not logging.getLogger().handlers
"""


def run_apart(code: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
    )


def test_the_public_names_are_these_and_sorted() -> None:
    assert mindtrace.services.__all__ == PUBLIC
    assert sorted(PUBLIC) == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_exists_and_says_what_it_does(name: str) -> None:
    value = getattr(mindtrace.services, name)

    assert inspect.getdoc(value)
    assert value.__doc__, "the text must be its own, not that of a base class"


@pytest.mark.parametrize("name", PUBLIC)
def test_the_public_methods_of_a_class_say_what_they_do(name: str) -> None:
    value = getattr(mindtrace.services, name)

    methods = vars(value).items() if inspect.isclass(value) else ()
    silent = [
        key
        for key, method in methods
        if not key.startswith("_") and callable(method) and not method.__doc__
    ]

    assert silent == []


def test_names_are_listed_before_they_are_loaded() -> None:
    assert set(PUBLIC) <= set(dir(mindtrace.services))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"'mindtrace\.services' has no attribute 'Nothing'"):
        _ = mindtrace.services.Nothing  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType, reportUnknownMemberType]


def test_the_namespace_is_open_to_other_packages() -> None:
    assert not (SOURCE.parent / "__init__.py").exists()
    assert (SOURCE / "py.typed").exists()


@pytest.mark.process
@pytest.mark.parametrize("code", [IMPORT_QUIETLY, CALL_WITHOUT_SERVING, LEAVES_LOGGING_ALONE])
def test_importing_is_cheap_and_without_effect(code: str) -> None:
    done = run_apart(code)

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.process
@pytest.mark.skipif(not README.exists(), reason="an installed wheel comes without the README")
def test_every_example_in_the_readme_runs(tmp_path: Path) -> None:
    blocks = re.findall(r"(?ms)^```python\n(.*?)^```", README.read_text("utf-8"))

    for block in blocks:
        done = run_apart(block, tmp_path)
        assert done.returncode == 0, done.stderr
    assert blocks
