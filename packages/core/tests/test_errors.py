import pickle

import pytest

from mindtrace.core import (
    InvalidSettingError,
    MindtraceError,
    NetworkError,
    NoFreePortError,
    PortInUseError,
    ServiceTimeoutError,
)

ERRORS = [
    InvalidSettingError("MINDTRACE_LOGGER__FORMAT", "input should be 'text' or 'json'"),
    NetworkError("nowhere:1", "it does not resolve"),
    PortInUseError("localhost", 80),
    NoFreePortError("localhost", 1, 2, 3),
    ServiceTimeoutError("localhost", 80, 2.5),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_keeps_its_facts_between_processes(error: MindtraceError) -> None:
    twin = pickle.loads(pickle.dumps(error))

    assert isinstance(error, MindtraceError)
    assert type(twin) is type(error)
    assert str(twin) == str(error)
    assert vars(twin) == vars(error)


def test_messages_say_what_was_found() -> None:
    assert [str(error) for error in ERRORS] == [
        "The setting MINDTRACE_LOGGER__FORMAT cannot be used: input should be 'text' or 'json'.",
        "nowhere:1 cannot be used: it does not resolve.",
        "localhost:80 cannot be used: the port is in use; stop its owner or choose another.",
        "localhost:1-2 cannot be used: fewer than 3 of these ports are free; widen the range.",
        "localhost:80 cannot be used: nothing answered within 2.5 seconds.",
    ]


def test_errors_are_also_the_builtin_ones() -> None:
    assert issubclass(InvalidSettingError, ValueError)
    assert issubclass(ServiceTimeoutError, TimeoutError)
    assert {PortInUseError.__base__, NoFreePortError.__base__} == {NetworkError}
