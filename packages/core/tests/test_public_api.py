import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import mindtrace.core

SOURCE = Path(mindtrace.core.__file__).parent
README = SOURCE.parents[2] / "README.md"

PUBLIC = [
    "Clock",
    "Config",
    "HandlerFactory",
    "InvalidSettingError",
    "ManualClock",
    "Mindtrace",
    "MindtraceABC",
    "MindtraceError",
    "NetworkError",
    "NoFreePortError",
    "PortInUseError",
    "PositionalModel",
    "Section",
    "ServiceTimeoutError",
    "Settings",
    "SystemClock",
    "TaskSchema",
    "Timeout",
    "Timer",
    "bind_handler_factory",
    "check_port_available",
    "first_not_none",
    "get_class",
    "get_config",
    "get_free_port",
    "get_free_ports",
    "get_local_ip",
    "get_logger",
    "ifnone",
    "instantiate_target",
    "is_port_available",
    "log_context",
    "named_lambda",
    "setup_logging",
    "track_operation",
    "utcnow",
    "utcnow_iso",
    "wait_for_service",
]

IMPORT_QUIETLY = """
import builtins, io, os, sys
import pydantic
opened = []
sys.addaudithook(
    lambda event, args: event == "open"
    and "mindtrace" not in str(args[0])
    and opened.append(args[0])
)
before = set(sys.modules)
import mindtrace.core
loaded = set(sys.modules) - before
slow = {"pydantic_settings", "logging", "asyncio", "socket", "ssl", "dotenv"}
assert not slow & loaded, slow & loaded
assert {name for name in loaded if name.startswith("mindtrace.")} == {"mindtrace.core"}, loaded
assert not opened, opened
"""

USE_WITHOUT_SETTINGS = """
import sys
from mindtrace.core import Mindtrace, MindtraceError, PositionalModel, SystemClock, TaskSchema
# pydantic itself loads socket when the first model is made
slow = {"pydantic_settings", "logging", "asyncio", "ssl", "dotenv"}
assert not slow & set(sys.modules), slow & set(sys.modules)
Mindtrace()
assert not slow & set(sys.modules), slow & set(sys.modules)
"""

LEAVES_LOGGING_ALONE = """
import logging
from mindtrace.core import get_logger
get_logger("quiet").warning("nobody asked for this line")
assert not logging.getLogger().handlers
assert [type(one) for one in logging.getLogger("mindtrace").handlers] == [logging.NullHandler]
assert logging.getLogger("mindtrace").level == logging.NOTSET
"""


def run_apart(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )


def test_the_public_names_are_these_and_sorted() -> None:
    assert mindtrace.core.__all__ == PUBLIC
    assert sorted(PUBLIC) == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_exists_and_says_what_it_does(name: str) -> None:
    value = getattr(mindtrace.core, name)

    assert inspect.getdoc(value)
    assert value.__doc__, "the text must be its own, not that of a base class"


@pytest.mark.parametrize("name", PUBLIC)
def test_the_public_methods_of_a_class_say_what_they_do(name: str) -> None:
    value = getattr(mindtrace.core, name)

    methods = vars(value).items() if inspect.isclass(value) else ()
    silent = [
        key
        for key, method in methods
        if not key.startswith("_") and callable(method) and not method.__doc__
    ]

    assert silent == []


def test_names_are_listed_before_they_are_loaded() -> None:
    assert set(PUBLIC) <= set(dir(mindtrace.core))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"'mindtrace\.core' has no attribute 'Nothing'"):
        _ = mindtrace.core.Nothing  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType, reportUnknownMemberType]


def test_the_namespace_is_open_to_other_packages() -> None:
    assert not (SOURCE.parent / "__init__.py").exists()
    assert (SOURCE / "py.typed").exists()


@pytest.mark.process
@pytest.mark.parametrize("code", [IMPORT_QUIETLY, USE_WITHOUT_SETTINGS, LEAVES_LOGGING_ALONE])
def test_importing_is_cheap_and_without_effect(code: str) -> None:
    done = run_apart(code)

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.process
@pytest.mark.skipif(not README.exists(), reason="an installed wheel comes without the README")
def test_every_example_in_the_readme_runs(tmp_path: Path) -> None:
    blocks = re.findall(r"(?ms)^```python\n(.*?)^```", README.read_text("utf-8"))

    for block in blocks:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", block],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stderr
    assert len(blocks) > 1
