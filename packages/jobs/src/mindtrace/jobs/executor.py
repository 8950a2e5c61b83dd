"""One delivery: decode, validate, run, validate the output, decide; the result is a `Settlement`.

The steps are the same for plain and for `async` handlers; only the call in the middle differs.
Nothing that a handler raises leaves this module, but for `KeyboardInterrupt` and `StopNow`.
"""

from __future__ import annotations

import os
import traceback
from typing import TYPE_CHECKING, Any, NamedTuple

from mindtrace.jobs import wire
from mindtrace.jobs.backend import Delivery, Failure, QueueOptions, Settlement
from mindtrace.jobs.errors import JobTimeoutError, JobValidationError
from mindtrace.jobs.execution import Execution, current
from mindtrace.jobs.retry import Reject, RetryPolicy, decide
from mindtrace.jobs.seconds import checked_seconds
from mindtrace.jobs.timeouts import run_bounded

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable

    from mindtrace.core import TaskSchema

TRACEBACK_LIMIT = 64 * 1024
"""Bytes of a traceback that are kept: its end, where the error is."""

LOGGED = 2000
"""Characters of an error that are logged; the dead letter has more."""

_ONE_ATTEMPT = RetryPolicy()


class StopNow(BaseException):
    """A second stop signal came: end at once, the job in hand counts as lost."""


class Handler(NamedTuple):
    """What runs jobs, and how it wants to be called."""

    call: Callable[[Any], Any]
    typed: bool = False
    """Whether it takes the input model instead of the `JobDict`."""
    is_async: bool = False
    retry: RetryPolicy | None = None
    timeout: float | None = None
    schema: TaskSchema | None = None
    """The schema it was written for, before the one registered for a queue."""


class QueueFacts(NamedTuple):
    """What holds for every job of one queue, as this consumer sees it."""

    schema: TaskSchema | None
    retry: RetryPolicy
    timeout: float | None


def facts_of(schema: TaskSchema | None, options: QueueOptions, handler: Handler) -> QueueFacts:
    """Return a queue's facts: what the handler says wins over the schema, that over the queue."""
    schema = handler.schema or schema
    of_schema = schema.retry if schema and isinstance(schema.retry, RetryPolicy) else None
    return QueueFacts(
        schema,
        handler.retry or of_schema or options.retry or _ONE_ATTEMPT,
        handler.timeout or (schema and schema.timeout) or options.timeout,
    )


def _with_options(facts: QueueFacts, options: dict[str, Any]) -> QueueFacts:
    """Return the facts for a job that was published with options of its own."""
    try:
        retry, timeout = options.get("retry"), options.get("timeout")
        return facts._replace(
            retry=RetryPolicy.from_json(retry) if retry else facts.retry,
            timeout=checked_seconds("timeout", timeout) or facts.timeout,
        )
    except (AttributeError, TypeError, ValueError) as error:
        message = f"its options cannot be read: {error}"
        raise wire.Undecodable(message) from None


class Executor:
    """Runs deliveries through one handler."""

    def __init__(
        self, handler: Handler, facts: Callable[[str], QueueFacts], logger: logging.Logger
    ) -> None:
        self._handler = handler
        self._facts_of = facts
        self._facts: dict[str, QueueFacts] = {}
        self._logger = logger

    def execute(self, delivery: Delivery, execution: Execution) -> Settlement:
        """Run one delivery and say how it ended; `execution` is the current one of this context."""
        try:
            job, facts = self._prepare(delivery)
        except (wire.Undecodable, JobValidationError) as error:
            return self._invalid(delivery, error)
        execution.begin(delivery)
        try:
            if facts.timeout is None:
                output = self._handler.call(job)
            else:
                output = run_bounded(self._handler.call, job, facts.timeout, delivery.id)
        except (KeyboardInterrupt, StopNow):
            raise
        except BaseException as error:  # whatever a handler raises is its outcome
            if os.getpid() != execution.pid:
                raise  # a child that the handler forked: the outcome is its parent's to tell
            if execution.was_cancelled:
                return Settlement(delivery, "ack")  # the store ends it as cancelled
            return self._failed(delivery, facts, error)
        if output is None:
            return Settlement(delivery, "ack")
        return self._completed(delivery, facts, output)

    async def execute_async(self, delivery: Delivery, execution: Execution) -> Settlement:
        """Run one delivery through an async handler, in a task of its own, and say how it ended."""
        try:
            job, facts = self._prepare(delivery)
        except (wire.Undecodable, JobValidationError) as error:
            return self._invalid(delivery, error)
        import asyncio  # noqa: PLC0415 - slow to load, and loaded by now

        execution.begin(delivery)
        current.set(execution)  # of this task's context alone
        bound = asyncio.timeout(facts.timeout)
        try:
            async with bound:
                output = await self._handler.call(job)
        except BaseException as error:  # noqa: BLE001 - as above; a loop's own thread gets no signals
            if execution.was_cancelled:
                return Settlement(delivery, "ack")  # the store ends it as cancelled
            if isinstance(error, TimeoutError) and bound.expired():
                error = JobTimeoutError(delivery.id, facts.timeout or 0.0)
            return self._failed(delivery, facts, error)
        if output is None:
            return Settlement(delivery, "ack")
        return self._completed(delivery, facts, output)

    def _prepare(self, delivery: Delivery) -> tuple[Any, QueueFacts]:
        """Return what the handler is called with, and what holds for this job."""
        facts = self._facts.get(delivery.queue)
        if facts is None:
            facts = self._facts[delivery.queue] = self._facts_of(delivery.queue)
        job = wire.decode(delivery)
        schema = facts.schema
        model = None if schema is None else wire.validate_payload(schema, job["payload"])
        options = job.pop("options")
        if options:
            facts = _with_options(facts, options)
        if self._handler.typed:
            return (job["payload"] if model is None else model), facts
        job["status"] = "running"
        return job, facts

    def _completed(self, delivery: Delivery, facts: QueueFacts, output: Any) -> Settlement:
        try:
            if facts.schema is not None:
                output = wire.validate_output(facts.schema, output)
            result = wire.to_text(output, delivery.queue, "result")
        except JobValidationError as error:
            return self._failed(delivery, facts, error, trace=False)
        return Settlement(delivery, "ack", result=result if delivery.keep is not None else None)

    def _invalid(self, delivery: Delivery, error: Exception) -> Settlement:
        self._logger.warning(
            "Job %s of queue %s cannot run and is now a dead letter: %s",
            delivery.id,
            delivery.queue,
            error,
            extra=_facts(delivery),
        )
        return wire.undecodable(delivery, error)

    def _failed(
        self, delivery: Delivery, facts: QueueFacts, error: BaseException, *, trace: bool = True
    ) -> Settlement:
        attempt = delivery.attempts + 1
        verdict = decide(error, attempt, facts.retry)
        if verdict.action == "retry":
            self._logger.warning(
                "Job %s of queue %s failed (attempt %d), again in %.1f s: %s",
                delivery.id,
                delivery.queue,
                attempt,
                verdict.delay,
                _brief(error),
                extra=_facts(delivery),
            )
            return Settlement(delivery, "nack", delay=verdict.delay, attempts=attempt)
        message = error.reason if isinstance(error, Reject) else _text(error)
        text = _traceback(error) if trace else ""
        failure = Failure(verdict.reason, type(error).__name__, _clipped(message), text)
        self._logger.warning(
            "Job %s of queue %s failed (attempt %d) and is now a dead letter: %s",
            delivery.id,
            delivery.queue,
            attempt,
            _brief(error),
            extra=_facts(delivery),
        )
        return Settlement(delivery, "reject", attempts=attempt, failure=failure)


def _facts(delivery: Delivery) -> dict[str, Any]:
    return {"job_id": delivery.id, "queue": delivery.queue, "delivery": delivery.delivery}


def _text(error: BaseException) -> str:
    """Return what an error says; one whose words raise says nothing."""
    try:
        return str(error)
    except Exception as broken:  # noqa: BLE001 - it is the user's own code
        return f"(its text cannot be had: {type(broken).__name__})"


def _brief(error: BaseException) -> str:
    text = _clipped(_text(error))[-LOGGED:]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _traceback(error: BaseException) -> str:
    """Return the traceback from the handler's own frame on, without our frames above it."""
    frames = error.__traceback__.tb_next if error.__traceback__ else None
    return _clipped("".join(traceback.format_exception(type(error), error, frames)))


def _clipped(text: str) -> str:
    """Return text that every store takes: no lone surrogates, and its end if it is too long."""
    raw = text.encode("utf-8", "replace")
    if len(raw) <= TRACEBACK_LIMIT:
        return raw.decode()
    return "...\n" + raw[-TRACEBACK_LIMIT + 8 :].decode("utf-8", "ignore")
