"""What a holder with a ledger and one without have in common: a channel, and receiving on it.

The channel is the lease: when it ends, the broker hands out anew what was not acknowledged.
"""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from time import monotonic
from typing import TYPE_CHECKING

from mindtrace.core import get_logger
from mindtrace.jobs.backend import Reception
from mindtrace.jobs.errors import BackendUnavailableError, QueueNotFoundError
from mindtrace.jobs_rabbitmq.intake import ChannelLostError, Intake, Source
from mindtrace.jobs_rabbitmq.trouble import NOT_FOUND, PRECONDITION_FAILED, code_of, translated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mindtrace.jobs.backend import Delivery, Settlement
    from mindtrace.jobs_rabbitmq.message import Message
    from mindtrace.jobs_rabbitmq.store import RabbitMQStore

_log = get_logger(__name__)


class Hold(ABC):
    """A channel of a broker on which jobs come in; `receive` is called by one thread at a time."""

    def __init__(self, broker: RabbitMQStore) -> None:
        self.broker = broker
        self.intake = Intake(broker.consuming)
        self.is_open = True
        self._pid = os.getpid()
        self.receiving = threading.Lock()
        self.intake.opened()  # a broker that is away is told at once

    @property
    def is_ours(self) -> bool:
        """Whether this process made it; a forked child owns nothing of its parent's."""
        return self._pid == os.getpid()

    def receive(
        self,
        queues: Sequence[str],
        *,
        limit: int,
        wait: float | None,
        settlements: Sequence[Settlement] = (),
    ) -> Reception:
        """Settle, then take up to `limit` jobs of one of the queues; see `Holder.receive`."""
        self.check_open()
        with self.receiving:
            stale = self._settle(settlements, sure=False)
            sources = self._sources(queues)
            end = None if wait is None else monotonic() + wait
            while True:
                left = None if end is None else max(0.0, end - monotonic())
                deliveries, more = self._take(sources, limit, left)
                if deliveries or not more:
                    self.intake.woken = False
                    return Reception(deliveries, stale)

    def wake(self) -> None:
        """Make a blocked `receive` return empty-handed."""
        self.intake.wake()

    def count(self, queue: str) -> int:
        """Return how many messages of a queue are here, handed out or not."""
        inbox = self.intake.inbox
        if inbox is None or inbox.closed is not None:
            return 0
        return inbox.count(self.broker.sender.names(queue))

    def check_open(self) -> None:
        """Raise unless this may be used."""
        if not self.is_open or not self.is_ours:
            whose = (
                "was closed" if not self.is_open else "belongs to the process that forked this one"
            )
            reason = f"this consumer's hold {whose}; open a new one"
            raise BackendUnavailableError("rabbitmq", self.broker.address, reason, transient=False)

    def answer(self, tags: list[int], *, sure: bool) -> None:
        """Acknowledge messages; `sure` returns only when the broker has seen it."""
        inbox = self.intake.inbox
        if inbox is None or not tags:
            return
        self.intake.settled(tags)
        if sure:
            self.broker.consuming.call(lambda _: inbox.acked(tags))
        else:
            self.broker.consuming.post(lambda: inbox.ack(tags))

    def requeue(self, tags: list[int]) -> None:
        """Give messages back to their places; they come redelivered."""
        inbox = self.intake.inbox
        if inbox is not None and tags:
            self.intake.settled(tags)
            self.broker.consuming.call(lambda _: inbox.requeued(tags))

    def keep(self, messages: Sequence[Message]) -> None:
        """Have messages that were taken and have no answer taken again, before all others."""
        kept = [each for each in messages if each.tag in self.intake.out]
        self.intake.settled([each.tag for each in kept])
        self.intake.put_back(kept)

    def end_channel(self) -> None:
        """End the channel as the death of a process does: nothing is settled."""
        inbox = self.intake.inbox
        if inbox is not None and inbox.closed is None and self.is_ours:
            self.broker.consuming.call(lambda _: inbox.closed_now())

    @abstractmethod
    def _settle(self, settlements: Sequence[Settlement], *, sure: bool) -> list[Settlement]:
        """Settle, and return what was stale; `sure` returns when the broker has seen it."""

    @abstractmethod
    def _accept(self, queue: str, messages: list[Message]) -> list[Delivery]:
        """Make deliveries of messages, as far as they are to be handed out."""

    @abstractmethod
    def _forget(self) -> None:
        """Forget what was held: the channel ended, and with it every delivery."""

    def _sources(self, queues: Sequence[str]) -> list[Source]:
        """Return where to take from; the settlements are safe by now."""
        known = self.broker.directory.known
        if any(name not in known for name in queues):
            known = self.broker.directory.read()
        for name in queues:
            if name not in known:
                raise QueueNotFoundError(name, known)
        return [Source(name, self.broker.sender.names(name)) for name in queues]

    def _take(
        self, sources: list[Source], limit: int, wait: float | None
    ) -> tuple[list[Delivery], bool]:
        """Take once; return deliveries, and whether there was anything at all."""
        try:
            queue, messages = self.intake.take(sources, limit, wait)
        except (ChannelLostError, BackendUnavailableError) as error:
            raise self._lost(error, sources) from error
        if not messages and wait is None and not self.intake.woken:
            self._check_there(sources)  # waiting for ever ended: somebody deleted a queue
        self.check_open()
        return self._accept(queue, messages), bool(messages)

    def _check_there(self, sources: list[Source]) -> None:
        known = self.broker.directory.read()
        for each in sources:
            if each.queue not in known:
                raise QueueNotFoundError(each.queue, known)

    def _lost(
        self, error: ChannelLostError | BackendUnavailableError, sources: list[Source]
    ) -> Exception:
        """Say why the channel ended; what was held is back in the broker."""
        reason = error.__cause__
        if isinstance(error, BackendUnavailableError) and code_of(reason or error) is None:
            return error
        self.intake.forget()
        self._forget()
        if reason is None:
            return error
        match code_of(reason):
            case code if code == NOT_FOUND:
                self._check_there(sources)
            case code if code == PRECONDITION_FAILED:
                _log.warning(
                    "The broker took back a job that ran longer than its consumer_timeout; it "
                    "runs again. Raise consumer_timeout in rabbitmq.conf for jobs of that length."
                )
            case _:
                pass
        return translated(reason, self.broker.consuming.address)
