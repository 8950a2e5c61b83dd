"""How a run ends, and what is kept of it."""

import pytest

from mindtrace.cluster import Worker
from mindtrace.cluster.core.types import JobStatusEnum
from mindtrace.cluster.outcome import JobEndedBadlyError, Outcome, read_failure
from mindtrace.jobs.backend import Failure
from mindtrace.jobs.executor import TRACEBACK_LIMIT


def kept(output: object) -> Outcome:
    """Return what a dead letter says of a run that ended with an error."""
    error = JobEndedBadlyError(Outcome(JobStatusEnum.ERROR, output, "w"))
    assert len(str(error)) <= TRACEBACK_LIMIT
    found = read_failure(Failure("failed", type(error).__name__, str(error)))
    assert (found.status, found.worker_id) == ("error", "w")
    return found


def test_a_bad_outcome_is_kept_as_it_is() -> None:
    output = {"stderr": "é" * 5000, "code": 3}

    assert kept(output).output == output


@pytest.mark.parametrize("letter", ["x", "é", "\0"])
def test_of_a_bad_outcome_that_is_too_long_the_ends_of_its_texts_are_kept(letter: str) -> None:
    found = kept({"stdout": f"{letter * 1_000_000}!", "code": 3, "all": [letter * 1_000_000]})

    assert found.output["code"] == 3
    assert found.output["stdout"].startswith(f"...{letter * 1000}")
    assert found.output["stdout"].endswith(f"{letter}!")
    assert found.output["all"][0].startswith(f"...{letter}")


def test_a_bad_outcome_of_very_many_values_is_told_in_words() -> None:
    found = kept(list(range(100_000)))

    assert found.output == {"error": "the output is too long to be kept: 688890 characters"}


@pytest.mark.parametrize("number", [0, -1, "four", 1.5, True, None])
def test_a_worker_has_to_run_one_job_at_a_time_at_least(number: object) -> None:
    with pytest.raises(ValueError, match="concurrency has to be a number from 1 on, found"):
        Worker(concurrency=number)  # pyright: ignore[reportArgumentType] - as a registry has it
