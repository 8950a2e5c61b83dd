"""The surface of `mindtrace.jobs` is pinned: a change of it is a change of this file."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

import mindtrace.jobs
from mindtrace.core import TaskSchema

PUBLIC = [
    "QUEUE_MAPPING",
    "BackendType",
    "BackendUnavailableError",
    "Capabilities",
    "Consumer",
    "ConsumerBackend",
    "DeadLetter",
    "DuplicateJobError",
    "ExecutionStatus",
    "FunctionConsumer",
    "Job",
    "JobCancelledError",
    "JobDict",
    "JobFailedError",
    "JobHandle",
    "JobInput",
    "JobNotFoundError",
    "JobOutput",
    "JobSchema",
    "JobTimeoutError",
    "JobType",
    "JobValidationError",
    "JobsError",
    "LocalClient",
    "LocalConsumerBackend",
    "LocalPriorityQueue",
    "LocalQueue",
    "LocalStack",
    "Orchestrator",
    "OrchestratorBackend",
    "PayloadTooLargeError",
    "Progress",
    "ProgressReport",
    "QueueError",
    "QueueNotFoundError",
    "QueueOptions",
    "QueueStats",
    "QueueTypeMismatchError",
    "Reject",
    "Retry",
    "RetryPolicy",
    "SchemaNotFoundError",
    "StaleDeliveryError",
    "UnsupportedByBackendError",
    "backend_from_url",
    "get_queue_for_job",
    "get_queue_for_job_type",
    "handler",
    "job_from_schema",
    "load_backend",
    "migrate",
]

SOURCE = Path(mindtrace.jobs.__file__).parent


def isort_key(name: str) -> tuple[int, str]:
    """Order as the linter does: constants, classes, then the rest."""
    kind = 0 if name.isupper() else 1 if name[0].isupper() else 2
    return kind, name


def methods_of(kind: type) -> dict[str, Any]:
    """Return the public functions and properties that our own classes give a class."""
    found: dict[str, Any] = {}
    for each in reversed(kind.__mro__):
        if each.__module__.startswith("mindtrace.jobs"):
            for name, value in vars(each).items():
                plain = getattr(value, "__func__", value)
                if not name.startswith("_") and (inspect.isfunction(plain) or is_property(plain)):
                    found[name] = plain
    return found


def is_property(value: object) -> bool:
    return isinstance(value, property)


def test_these_names_are_public() -> None:
    assert mindtrace.jobs.__all__ == PUBLIC


def test_they_are_sorted_and_each_stands_there_once() -> None:
    assert sorted(set(PUBLIC), key=isort_key) == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_each_can_be_imported(name: str) -> None:
    assert getattr(mindtrace.jobs, name) is not None


@pytest.mark.parametrize("name", [name for name in PUBLIC if not name.isupper()])
def test_each_has_a_docstring_of_its_own(name: str) -> None:
    value = getattr(mindtrace.jobs, name)

    assert value.__doc__
    assert not value.__doc__.startswith(f"{name}(")


def test_everything_that_the_module_imports_for_its_users_is_listed() -> None:
    ours = {
        name
        for name, value in vars(mindtrace.jobs).items()
        if not name.startswith("_")
        and getattr(value, "__module__", "").startswith("mindtrace.jobs")
        and not inspect.ismodule(value)
    }

    # those of other packages are here once somebody has asked for them
    of_backends = set(mindtrace.jobs._BACKEND_OF_NAME)
    assert ours - {"make_handler"} - of_backends <= set(PUBLIC)


def test_a_star_import_gives_them_all() -> None:
    names: dict[str, Any] = {}

    exec("from mindtrace.jobs import *", names)

    assert set(PUBLIC) <= names.keys()


@pytest.mark.parametrize(
    "kind",
    [
        getattr(mindtrace.jobs, name)
        for name in PUBLIC
        if isinstance(getattr(mindtrace.jobs, name), type)
    ],
    ids=lambda kind: kind.__name__,
)
def test_each_public_method_has_a_docstring(kind: type) -> None:
    without = [name for name, method in methods_of(kind).items() if not method.__doc__]

    assert without == []


def test_all_of_them_are_listed_before_any_is_loaded() -> None:
    assert set(PUBLIC) <= set(dir(mindtrace.jobs))


def test_a_job_schema_is_a_task_schema() -> None:
    assert mindtrace.jobs.JobSchema is TaskSchema


def test_the_package_tells_type_checkers_that_it_is_typed() -> None:
    assert (SOURCE / "py.typed").is_file()


def test_each_error_derives_from_one_base() -> None:
    errors = [
        getattr(mindtrace.jobs, name)
        for name in PUBLIC
        if name.endswith("Error") and name != "JobsError"
    ]

    assert len(errors) >= 14
    assert all(issubclass(each, mindtrace.jobs.JobsError) for each in errors)
