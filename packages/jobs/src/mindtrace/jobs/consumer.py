"""`Consumer`: the user's class, and the typed function that is one too."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

from mindtrace.core import MindtraceABC, TaskSchema
from mindtrace.jobs.errors import BackendUnavailableError
from mindtrace.jobs.execution import Progress, current
from mindtrace.jobs.executor import Handler
from mindtrace.jobs.retry import check_retry
from mindtrace.jobs.seconds import checked_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mindtrace.jobs.consumer_backend import ConsumerBackend
    from mindtrace.jobs.orchestrator import Orchestrator
    from mindtrace.jobs.retry import RetryPolicy

P = ParamSpec("P")
R = TypeVar("R")


class Consumer(MindtraceABC):
    """Runs jobs: subclass it and implement `run` (`def` or `async def`).

    A job is delivered at least once: after a crash it runs again, so `run` should be safe to repeat
    or fence its effects with `job_dict["delivery"]`. What `run` returns is validated against the
    schema's output model; what it raises puts the job to the dead letters or, with a retry policy,
    back into the queue.

    Args:
        job_type_name: the queue that `connect` uses by default.
    """

    # on the class, so that a subclass whose __init__ does not call this one connects all the same
    job_type_name: str | None = None
    queue_name: str | None = None
    job_schema: TaskSchema | None = None
    orchestrator: Orchestrator | None = None
    consumer_backend: ConsumerBackend | None = None

    def __init__(self, job_type_name: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.job_type_name = job_type_name

    def run(self, job_dict: Any) -> Any:
        """Run one job and return its output: a dict, an output model, or None for no result."""
        message = f"{type(self).__name__} must implement run(self, job_dict)"
        raise NotImplementedError(message)

    # connecting

    def connect(self, orchestrator: Orchestrator, queue: str | None = None) -> None:
        """Consume `queue` (by default the name given at construction) of this orchestrator.

        A queue that is missing is declared (fifo); if the store is away, when `consume` begins,
        which waits for it.

        Raises:
            RuntimeError: this object is connected already.
        """
        name = queue or self.job_type_name
        if name is None:
            message = (
                f"which queue? {type(self).__name__}('queue') or connect(orchestrator, 'queue')"
            )
            raise ValueError(message)
        self.connect_to_orchestrator(orchestrator, name)

    def connect_to_orchestrator(self, orchestrator: Orchestrator, queue_name: str) -> None:
        """Consume `queue_name` of this orchestrator; see `connect`."""
        if self.consumer_backend is not None:
            message = (
                f"Consumer already connected to queue {self.queue_name!r}. "
                "Make another consumer object for another queue, or call close() first."
            )
            raise RuntimeError(message)
        backend = orchestrator.backend.create_consumer_backend(
            queue_name, orchestrator, self._handler()
        )
        try:
            orchestrator.ensure_queue(queue_name)
        except BackendUnavailableError as error:
            if not error.transient:
                raise
            self.logger.warning("%s The queue is looked for when consuming begins.", error)
            backend.declares = True
        self.consumer_backend = backend
        self.orchestrator = orchestrator
        self.queue_name = queue_name
        self.job_schema = orchestrator.schema_of(queue_name)

    def connect_to_orchestrator_via_backend_args(
        self, backend_args: dict[str, Any], queue_name: str
    ) -> None:
        """Connect with what `backend.consumer_backend_args` gave, in this process or another."""
        from mindtrace.jobs.loading import backend_from_args  # noqa: PLC0415 - as above
        from mindtrace.jobs.orchestrator import Orchestrator  # noqa: PLC0415 - it imports this

        self.connect_to_orchestrator(Orchestrator(backend_from_args(backend_args)), queue_name)

    connect_to_orchestator_via_backend_args = connect_to_orchestrator_via_backend_args

    # consuming

    def consume(  # noqa: PLR0913 - each is a word of its own to the user
        self,
        num_messages: int | None = 0,
        queues: str | Sequence[str] | None = None,
        block: bool = True,  # noqa: FBT001, FBT002 - the older signature
        *,
        timeout: float | None = None,
        concurrency: int = 1,
        prefetch: int | None = None,
        prefetch_count: int | None = None,
    ) -> int:
        """Handle jobs and return how many were handled, failures included.

        In the main thread, SIGTERM and SIGINT finish the job in hand, release the others and
        return; a second signal returns at once, and the job in hand is then delivered again.

        Args:
            num_messages: how many to handle in all; 0 or None for no limit.
            queues: one or several queues, served in turn; by default the connected one.
            block: whether to wait for jobs; False returns when none is ready.
            timeout: seconds after which it returns, once the job in hand is done.
            concurrency: jobs handled at a time: threads for `def run`, one event loop for `async
                def`.
            prefetch: jobs to hold; by default as many as run in about 0.1 s, and one of a priority
                queue.
            prefetch_count: the older name of `prefetch`.

        Raises:
            RuntimeError: not connected, or consuming already.
            QueueNotFoundError: a queue does not exist, or was deleted meanwhile.
        """
        return self._connected().consume(
            num_messages,
            queues=queues,
            block=block,
            timeout=timeout,
            concurrency=concurrency,
            prefetch=prefetch if prefetch is not None else prefetch_count,
        )

    def consume_until_empty(
        self,
        queues: str | Sequence[str] | None = None,
        block: bool = True,  # noqa: FBT001, FBT002 - the older signature
        *,
        timeout: float | None = None,
        concurrency: int = 1,
        prefetch: int | None = None,
    ) -> int:
        """Handle jobs until none is ready, and return how many were handled.

        Jobs that are delayed, wait for a retry or are held by other consumers are not waited for.
        `block` is accepted for older code and changes nothing.
        """
        return self._connected().consume_until_empty(
            queues=queues, block=block, timeout=timeout, concurrency=concurrency, prefetch=prefetch
        )

    def stop(self) -> None:
        """Make `consume` finish the jobs in hand and return; from any thread.

        Between two calls of `consume` it makes the next one return at once.
        """
        if self.consumer_backend is not None:
            self.consumer_backend.stop()

    @property
    def stopped(self) -> bool:
        """Whether the last `consume` ended because of `stop` or a signal: a loop around it ends."""
        return self.consumer_backend is not None and self.consumer_backend.stopped

    def close(self) -> None:
        """Stop and disconnect; the object may be connected again."""
        self.stop()
        self.consumer_backend = None

    # inside of run

    @staticmethod
    def cancelled() -> bool:
        """Tell, inside of `run`, whether somebody cancelled this job; at most 0.1 s old."""
        execution = current.get()
        return execution is not None and execution.cancelled()

    @staticmethod
    def progress(total: float | None = None) -> Progress:
        """Return the progress of the current job: `with Consumer.progress(n) as p: p.advance()`."""
        return Progress(total)

    def _connected(self) -> ConsumerBackend:
        if self.consumer_backend is None:
            message = "Consumer not connected. Call connect() first."
            raise RuntimeError(message)
        return self.consumer_backend

    def _handler(self) -> Handler:
        return Handler(self.run, is_async=_is_async(self.run))


class FunctionConsumer(Consumer, Generic[P, R]):
    """A typed function that is a consumer too: made by `@schema.handler` or `handler(schema)`.

    Called, it is the function itself. Its argument is the schema's input model.
    """

    def __init__(
        self,
        schema: TaskSchema,
        function: Callable[P, R],
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
    ) -> None:
        super().__init__(schema.name)
        self.schema = schema
        self.function = function
        check_retry(retry)
        self._retry = retry
        self._timeout = checked_seconds("timeout", timeout)
        self.__name__ = getattr(function, "__name__", type(function).__name__)
        self.__doc__ = function.__doc__
        self.__wrapped__ = function

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function directly, without a queue."""
        return self.function(*args, **kwargs)

    def connect_to_orchestrator(
        self, orchestrator: Orchestrator, queue_name: str | None = None
    ) -> None:
        """Register the schema there, and consume its queue (or another one)."""
        try:
            if orchestrator.schema_of(self.schema.name) is None:
                orchestrator.register(self.schema)
        except BackendUnavailableError as error:
            if not error.transient:
                raise  # else it is told, and waited for, below; the schema is this handler's own
        super().connect_to_orchestrator(orchestrator, queue_name or self.schema.name)

    def _handler(self) -> Handler:
        call: Callable[..., R] = self.function
        return Handler(
            call,
            typed=True,
            is_async=_is_async(self.function),
            retry=self._retry,
            timeout=self._timeout,
            schema=self.schema,
        )


def _is_async(function: Callable[..., object]) -> bool:
    """Tell whether calling it gives a coroutine: an `async def`, or an object with such a call."""
    call = getattr(function, "__call__", None)  # noqa: B004 - its kind matters, not that it exists
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)


def handler(
    schema: TaskSchema,
    *,
    retry: RetryPolicy | None = None,
    timeout: float | None = None,
) -> Callable[[Callable[P, R]], FunctionConsumer[P, R]]:
    """Turn a typed function into a consumer of the schema's queue; `@schema.handler` is the same.

    Args:
        schema: names the queue and the models.
        retry: the retry policy of its jobs, where the publish says none.
        timeout: seconds one run may take, likewise.
    """

    def decorate(function: Callable[P, R]) -> FunctionConsumer[P, R]:
        return FunctionConsumer(schema, function, retry=retry, timeout=timeout)

    return decorate
