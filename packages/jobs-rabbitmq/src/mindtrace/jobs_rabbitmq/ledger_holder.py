"""`LedgerHolder`: one consumer's hold on a broker and on its ledger."""

from __future__ import annotations

from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias, cast

from mindtrace.jobs.backend import Entry, Settlement
from mindtrace.jobs.errors import BackendUnavailableError, DuplicateJobError, QueueNotFoundError
from mindtrace.jobs.lifecycle import UNFINISHED
from mindtrace.jobs_rabbitmq.deliveries import Properties
from mindtrace.jobs_rabbitmq.hold import Hold
from mindtrace.jobs_rabbitmq.message import HEADER, read, text_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mindtrace.jobs.backend import Delivery, Reception
    from mindtrace.jobs_rabbitmq.intake import Source
    from mindtrace.jobs_rabbitmq.ledger import LedgerStore
    from mindtrace.jobs_rabbitmq.message import Message


Mark: TypeAlias = tuple[int | str, int]
"""What tells a delivery from all others: its entry and its number."""

LOOK_AGAIN = 1.0
"""Seconds after which a job is looked at again that could not be leased when its turn came."""

RESCUE_AFTER = 30.0
"""Seconds for which a job must be ready before it is taken for one that has no turn."""

LOOKS = 3
"""How often, in that time, a consumer looks for such jobs."""

SLACK = 0.05
"""Seconds that a turn comes later than its job is due: it is sent before the job is settled."""


class _Mortal(Protocol):
    """A holder that can end as its process would; those of Local and Redis can."""

    def abandon(self) -> None: ...


class Turn(NamedTuple):
    """A job leased in the ledger, with the message whose turn it was."""

    tag: int
    delivery: Delivery


class LedgerHolder(Hold):
    """A living hold on a `LedgerStore`.

    A job is settled in the ledger first. A crash before the acknowledgement brings its turn back,
    which is dropped then.
    """

    def __init__(self, store: LedgerStore) -> None:
        super().__init__(store.broker)
        self._store = store
        self.ledger = store.ledger.holder()
        self._turns: dict[int | str, Turn] = {}
        self._settled: frozenset[Mark] = frozenset()
        self._unheard: frozenset[Mark] = frozenset()
        """What was settled by a call that failed afterwards; the caller asks for it again."""

    def receive(
        self,
        queues: Sequence[str],
        *,
        limit: int,
        wait: float | None,
        settlements: Sequence[Settlement] = (),
    ) -> Reception:
        """Settle, then take up to `limit` jobs of one of the queues; see `Holder.receive`."""
        try:
            return super().receive(queues, limit=limit, wait=wait, settlements=settlements)
        except BackendUnavailableError:
            self._unheard = self._settled
            raise

    def settle(self, settlements: Sequence[Settlement]) -> list[Settlement]:
        """Settle deliveries, give back turns that were pushed ahead; return what was stale."""
        self.check_open()
        if self.receiving.acquire(blocking=False):
            try:
                self._give_back()
            finally:
                self.receiving.release()
        try:
            return self._settle(settlements, sure=True)
        except BackendUnavailableError:
            self._unheard = self._settled
            raise

    def claim(self, queue: str, job_ids: Sequence[str], *, steal: bool) -> list[Delivery | None]:
        """Lease these very jobs, without waiting for their turn; see `Holder.claim`."""
        self.check_open()
        return self.ledger.claim(queue, job_ids, steal=steal)

    def cancelled(self) -> frozenset[str]:
        """Return the ids, among the jobs held here, whose cancelling was asked for."""
        return self.ledger.cancelled()

    def progress(self, delivery: Delivery, done: float, total: float | None) -> None:
        """Record how far a delivery is. A stale delivery records nothing."""
        self.ledger.progress(delivery, done, total)

    def close(self) -> None:
        """Let go: what is still held is ready again, counted as lost."""
        if not self.is_open or not self.is_ours:
            return
        self.is_open = False
        self._store.holders.discard(self)
        self.intake.wake()
        inbox = self.intake.inbox
        try:
            self.ledger.close()
        finally:
            if inbox is not None:
                # the turns go back, and bring the jobs to others
                self.broker.consuming.post(inbox.close)

    def abandon(self) -> None:
        """End as a killed process does: nothing is settled."""
        self.is_open = False
        self._store.holders.discard(self)
        cast("_Mortal", self.ledger).abandon()
        self.end_channel()

    def take_turn(self, delivery: Delivery) -> int | None:
        """Return the message of a delivery, and forget it."""
        held = self._turns.get(delivery.entry)
        if held is None or held.delivery.delivery != delivery.delivery:
            return None
        return self._turns.pop(delivery.entry).tag

    def _settle(self, settlements: Sequence[Settlement], *, sure: bool) -> list[Settlement]:
        unheard, self._unheard, self._settled = self._unheard, frozenset(), frozenset()
        settlements = [each for each in settlements if mark(each.delivery) not in unheard]
        if not settlements:
            return []
        # a turn that is sent before its job waits again may find it leased, and wait for a second;
        # with a delay there is time, and then a crash in between leaves a turn too many
        self._send_turns([each for each in settlements if each.verdict == "nack" and each.delay])
        stale = self.ledger.settle(settlements)
        refused = {mark(each.delivery) for each in stale}
        self._settled = frozenset(mark(each.delivery) for each in settlements) - refused
        self._send_turns(
            [
                each
                for each in settlements
                if each.verdict in ("nack", "release") and not each.delay and each not in stale
            ]
        )
        answers: dict[LedgerHolder, list[int]] = {}
        holders = (self, *self._store.holders)
        for each in settlements:
            for holder in holders:
                tag = holder.take_turn(each.delivery)
                if tag is not None:
                    answers.setdefault(holder, []).append(tag)
                    break
        for holder, tags in answers.items():
            holder.answer(tags, sure=sure or holder is not self)
        return stale

    def _send_turns(self, settlements: Sequence[Settlement]) -> None:
        turns: dict[str, list[tuple[str, int, float]]] = {}
        for each in settlements:
            job = each.delivery
            delay = each.delay + SLACK if each.delay else 0.0
            turns.setdefault(job.queue, []).append((job.id, job.priority, delay))
        for queue, these in turns.items():
            with suppress(QueueNotFoundError):  # it was deleted, and its jobs with it
                self._store.send_turns(queue, these)

    def _accept(self, queue: str, messages: list[Message]) -> list[Delivery]:
        try:
            return self._lease(queue, messages)
        except BackendUnavailableError:
            self.keep(messages)
            raise

    def _lease(self, queue: str, messages: list[Message]) -> list[Delivery]:
        """Lease the jobs whose turn it is; drop the turns of those that have finished.

        A job that cannot be leased and has not finished is not due yet, or is with somebody: who
        sent this turn ahead of settling it, or whose channel ended, which does not say whether that
        one still lives. Until the ledger knows, the turn waits.
        """
        messages = [self._adopted(queue, each) for each in messages]
        ids = [each.properties.message_id or "" for each in messages]
        found = self.ledger.claim(queue, ids, steal=False) if messages else []
        leased: list[Turn] = []
        later: list[tuple[str, int, float]] = []
        unfinished = self._unfinished(
            [job_id for job_id, delivery in zip(ids, found, strict=True) if delivery is None]
        )
        for message, job_id, delivery in zip(messages, ids, found, strict=True):
            if delivery is not None:
                leased.append(Turn(message.tag, delivery))
            elif job_id in unfinished:
                later.append((job_id, message.properties.priority or 0, LOOK_AGAIN))
        if later:
            try:
                self._store.send_turns(queue, later)
            except BackendUnavailableError:
                self._release(leased)
                raise
        taken = {each.tag for each in leased}
        self.answer([each.tag for each in messages if each.tag not in taken], sure=False)
        kept = alone(leased)
        self._put_back(leased[len(kept) :], messages)
        self._turns.update((each.delivery.entry, each) for each in kept)
        return [each.delivery for each in kept]

    def _unfinished(self, job_ids: Sequence[str]) -> set[str]:
        records = self._store.ledger.records(job_ids) if job_ids else []
        return {each.id for each in records if each is not None and each.state in UNFINISHED}

    def _adopted(self, queue: str, message: Message) -> Message:
        """Put a job into the ledger that came from somebody who does not know of it.

        A foreign publisher, or a client without the ledger. The message is the job's turn
        from then on.
        """
        if is_turn(message):
            return message
        envelope = read(message, self.broker.now())
        entry = Entry(envelope.id, text_of(message.body), envelope.priority, keep=envelope.keep)
        with suppress(DuplicateJobError):  # it is known, and finished: its turn is dropped
            self._store.ledger.publish(queue, [entry])
        return message._replace(properties=Properties({}, envelope.id))

    def _put_back(self, turns: Sequence[Turn], messages: Sequence[Message]) -> None:
        """Let go of jobs that are not to be handed out with the others; their turns come next."""
        if not turns:
            return
        self._release(turns)
        tags = {each.tag for each in turns}
        self.intake.put_back([each for each in messages if each.tag in tags])

    def _release(self, turns: Sequence[Turn]) -> None:
        self.ledger.settle([Settlement(each.delivery, "release") for each in turns])

    def _give_back(self) -> None:
        """Give back turns that were pushed ahead and not taken, each to its place."""
        if self.intake.inbox is None or self.intake.inbox.closed is not None:
            return
        self.requeue([each.tag for each in self.intake.give_up_buffer()])

    def _take(
        self, sources: list[Source], limit: int, wait: float | None
    ) -> tuple[list[Delivery], bool]:
        """Take once; now and then, look for jobs that have no turn."""
        end = None if wait is None else monotonic() + wait
        while True:
            for each in sources:
                self._store.rescue(each.queue)
            began = monotonic()
            left = RESCUE_AFTER / LOOKS
            if end is not None:
                left = min(left, max(0.0, end - began))
            deliveries, more = super()._take(sources, limit, left)
            if deliveries or more or self.intake.woken:
                return deliveries, more
            if monotonic() - began < left:
                self._check_there(sources)  # the waiting ended early: somebody deleted a queue
            if end is not None and monotonic() >= end:
                return deliveries, more

    def _forget(self) -> None:
        self._turns.clear()


def mark(delivery: Delivery) -> Mark:
    """Return what tells a delivery from every other one of its job and of other jobs."""
    return delivery.entry, delivery.delivery


def is_turn(message: Message) -> bool:
    """Tell whether a message is a turn of ours, rather than a job."""
    headers = message.properties.headers or {}
    return not message.body and HEADER in headers


def alone(turns: list[Turn]) -> list[Turn]:
    """Return the first turns that may be handed out together: a job that was lost comes alone."""
    for place, each in enumerate(turns):
        if each.delivery.lost:
            return turns[: max(place, 1)]
    return turns
