"""`Worker`: a service that also consumes jobs."""

from __future__ import annotations

import asyncio
import threading
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, cast

from mindtrace.cluster.core.types import (
    ConnectToClusterInput,
    JobStatusEnum,
    WorkerReport,
    WorkerStatusEnum,
    WorkerStatusLocal,
)
from mindtrace.cluster.folders import check_same
from mindtrace.cluster.member import Member
from mindtrace.cluster.outcome import JobEndedBadlyError, Outcome
from mindtrace.cluster.reporting import HEARTBEAT, Reporter
from mindtrace.core.task import TaskSchema
from mindtrace.jobs import Consumer, Orchestrator, Reject, Retry

if TYPE_CHECKING:
    from mindtrace.jobs import JobDict


# `connect` is that of Service; nothing here connects to an orchestrator by that name
class Worker(Member, Consumer):  # type: ignore[misc]  # pyright: ignore[reportIncompatibleMethodOverride]
    """Runs jobs of a cluster: derive from it, and write `_run`.

    `_run` gets the payload of a job and returns `{"status": "completed", "output": ...}`, or
    `failed` or `error` in place of `completed`; a plain dict or a model is the output of a
    completed job. What it raises makes the job `failed`. A job is settled only when its outcome is
    recorded, so none is lost; a worker that dies in between runs it again, or another one does.

    Inside of `_run`, `Consumer.progress(total)` tells how far it is, and `Consumer.cancelled()`
    whether somebody cancelled the job.

    Args:
        concurrency: How many jobs it runs at a time, in threads.
        redis_url: Accepted for older code; where the state is, the manager says.
        kwargs: Those of `Service`.
    """

    def __init__(
        self, *, concurrency: int = 1, redis_url: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        del redis_url
        if isinstance(concurrency, bool) or not isinstance(concurrency, int) or concurrency < 1:  # pyright: ignore[reportUnnecessaryIsInstance] - it may come from a registry
            message = f"concurrency has to be a number from 1 on, found {concurrency!r}"
            raise ValueError(message)
        self.concurrency = concurrency
        self._queues: list[str] = []
        self._connecting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._reporter: Reporter | None = None
        self._running: dict[int, str] = {}
        self._ending = threading.Event()
        self.add_endpoint("/start", self.start_func, TaskSchema(name="start"))
        self.add_endpoint("/run", self.run_func, TaskSchema(name="run"))
        self.add_endpoint(
            "/connect_to_cluster",
            self.connect_to_cluster,
            TaskSchema(name="connect_to_cluster", input_schema=ConnectToClusterInput),
        )
        self.add_endpoint(
            "/get_status",
            self.get_status,
            TaskSchema(name="get_status", output_schema=WorkerStatusLocal),
            repeatable=True,
        )

    # for subclasses

    def _run(self, job_dict: Any) -> Any:
        """Run one job, given its payload; plain or `async`."""
        message = f"{type(self).__name__} must implement _run(self, job_dict)"
        raise NotImplementedError(message)

    def start(self) -> None:
        """Prepare for jobs; called once, when the worker is connected to a cluster."""

    # endpoints

    def start_func(self) -> None:
        """Call `start` again."""
        self.start()

    def run_func(self, payload: Any) -> dict[str, Any]:
        """Run one job at once: the whole job, `{"job_dict": ...}`, or its payload alone."""
        return self._ended(payload_of(payload)).to_dict()

    def get_status(self) -> WorkerStatusLocal:
        """Return what the worker is doing."""
        jobs = list(self._running.values())
        status = WorkerStatusEnum.RUNNING if jobs else WorkerStatusEnum.IDLE
        return WorkerStatusLocal(
            worker_id=str(self.id), status=status, job_id=jobs[0] if jobs else None
        )

    def connect_to_cluster(self, payload: ConnectToClusterInput) -> None:
        """Consume a queue from now on, beside those that it consumes already."""
        check_same(payload.mark)
        with self._connecting:
            if payload.queue_name in self._queues:
                return
            if self.consumer_backend is None:
                self._attach(payload)
            else:
                assert self.orchestrator is not None
                self.orchestrator.ensure_queue(payload.queue_name)
            self._queues.append(payload.queue_name)
            self.stop()  # the loop goes on with the new list
            if self._thread is None:
                self._thread = threading.Thread(target=self._consume, name="mindtrace-worker")
                self._thread.start()

    def _attach(self, payload: ConnectToClusterInput) -> None:
        from mindtrace.cluster.client import ManagerClient  # noqa: PLC0415 - only when connected
        from mindtrace.jobs.loading import backend_from_args  # noqa: PLC0415 - likewise

        backend = backend_from_args(payload.backend_args.model_dump())
        try:
            self.connect_to_orchestrator(Orchestrator(backend), payload.queue_name)
            self.start()
        except BaseException:
            self.close()  # as before, so that it can be connected again
            backend.close()
            raise
        manager = ManagerClient(payload.cluster_url)

        def report() -> None:
            mine = self.get_status()
            status = WorkerStatusEnum.SHUTDOWN if self._ending.is_set() else mine.status
            manager.report(
                WorkerReport(
                    worker_id=mine.worker_id,
                    worker_type=type(self).__name__,
                    worker_url=str(self.url),
                    status=status,
                    job_id=mine.job_id,
                )
            )

        self._reporter = Reporter(report, every=HEARTBEAT)
        self._reporter.start()

    # consuming

    def _consume(self) -> None:
        while not self._ending.is_set():
            try:
                self.consume(queues=list(self._queues), concurrency=self.concurrency)
            except Exception:
                self.logger.exception("Consuming %s ended; it begins again", self._queues)
                self._ending.wait(1.0)

    def run(self, job_dict: JobDict) -> dict[str, Any]:
        """Run one job of the queue; what the consumer calls."""
        thread = threading.get_ident()
        self._running[thread] = job_dict["id"]
        self._tell()
        try:
            outcome = self._ended(job_dict["payload"], raises=True)
            if outcome.status is not JobStatusEnum.COMPLETED:
                raise JobEndedBadlyError(outcome)
            return outcome.to_dict()
        finally:
            self._running.pop(thread, None)
            self._tell()

    def _ended(self, payload: Any, *, raises: bool = False) -> Outcome:
        worker_id = str(self.id)
        try:
            returned = self._run(payload)
            if isawaitable(returned):
                returned = asyncio.run(_awaited(returned))
            return Outcome.of(returned, worker_id)
        except (Retry, Reject):
            if raises:
                raise
            return Outcome(JobStatusEnum.FAILED, {"error": "the job was refused"}, worker_id)
        except Exception as error:
            if raises:
                raise
            self.logger.exception("A job failed")
            output = {"error": str(error), "error_type": type(error).__name__}
            return Outcome(JobStatusEnum.FAILED, output, worker_id)

    def _tell(self) -> None:
        if self._reporter is not None:
            self._reporter.changed()

    def shutdown_cleanup(self) -> None:
        """Finish the job in hand, give back the others, and say goodbye."""
        self._ending.set()
        if self._reporter is not None:
            self._reporter.leave()
        self.stop()
        if self._thread is not None:
            self._thread.join()
        if self._reporter is not None:
            self._reporter.stop()


def payload_of(given: Any) -> Any:
    """Return the payload in a whole job, in `{"job_dict": ...}`, or the payload that it is."""
    if not isinstance(given, dict):
        return given
    values = cast("dict[str, Any]", given)
    if values.keys() == {"job_dict"}:
        return payload_of(values["job_dict"])
    return values["payload"] if {"payload", "name"} <= values.keys() else values


async def _awaited(returned: Any) -> Any:
    return await returned
