"""`RabbitHolder`: one consumer's hold on the broker alone, where the messages keep the counters.

Whatever changes a counter is a message sent anew and confirmed, after which the old one is
acknowledged. A crash in between leaves two of them, never none.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, NamedTuple

from mindtrace.jobs.backend import Delivery, Failure, QueueOptions, Settlement
from mindtrace.jobs.errors import (
    BackendUnavailableError,
    QueueNotFoundError,
    UnsupportedByBackendError,
)
from mindtrace.jobs_rabbitmq.hold import Hold
from mindtrace.jobs_rabbitmq.intake import ChannelLostError
from mindtrace.jobs_rabbitmq.message import Envelope, Message, read, text_of
from mindtrace.jobs_rabbitmq.sending import Parcel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mindtrace.jobs_rabbitmq.store import RabbitMQStore

LEDGER = (
    "Give the client a ledger: RabbitMQClient(..., ledger=RedisClient(...) or LocalClient(...))."
)


class Held(NamedTuple):
    """A delivery that was handed out and is not settled."""

    tag: int
    envelope: Envelope
    delivery: Delivery


class RabbitHolder(Hold):
    """A living hold on a `RabbitMQStore`."""

    def __init__(self, broker: RabbitMQStore) -> None:
        super().__init__(broker)
        self._held: dict[int | str, Held] = {}
        self._unsure: set[int] = set()
        """Tags of messages whose copy may be in the broker: they go back when the channel ends."""
        self._settling = threading.RLock()

    def settle(self, settlements: Sequence[Settlement]) -> list[Settlement]:
        """Settle deliveries, give back what was pushed ahead; return what was stale."""
        self.check_open()
        if self.receiving.acquire(blocking=False):
            # nobody is taking: what was pushed ahead would only wait behind a handler
            try:
                self._give_back()
            except ChannelLostError:
                self._forget()  # it is back in the broker, and stale below; tags begin anew
            except QueueNotFoundError:
                pass  # its jobs are gone with it
            finally:
                self.receiving.release()
        return self._settle(settlements, sure=True)

    def claim(self, queue: str, job_ids: Sequence[str], *, steal: bool) -> list[Delivery | None]:
        """Refuse: a broker hands out the next message, not a certain one."""
        del queue, job_ids, steal
        raise UnsupportedByBackendError("leasing a job by its id", "rabbitmq", LEDGER)

    def cancelled(self) -> frozenset[str]:
        """Return nothing: nobody can cancel a job here, see `Store.cancel`."""
        return frozenset()

    def progress(self, delivery: Delivery, done: float, total: float | None) -> None:
        """Refuse for a delivery held here; for another one there is nothing to record anyway."""
        del done, total
        if self.has(delivery):
            raise UnsupportedByBackendError("progress", "rabbitmq", LEDGER)

    def close(self) -> None:
        """Let go: what is still held is ready again, counted as lost."""
        if not self.is_open or not self.is_ours:
            return
        self.is_open = False
        self.broker.holders.discard(self)
        self.intake.wake()
        inbox = self.intake.inbox
        if inbox is None or inbox.closed is not None:
            return
        try:
            with self.receiving, self._settling:
                self._give_back()
                held = self._held.values()
                self._lose([(each.tag, each.envelope, each.delivery) for each in held])
        except (ChannelLostError, QueueNotFoundError):
            pass  # the broker has it all back, or the queue is gone and its jobs with it
        finally:
            self._held.clear()
            self.broker.consuming.post(inbox.close)

    def abandon(self) -> None:
        """End as a killed process does: the channel ends, nothing is settled."""
        self.is_open = False
        self.broker.holders.discard(self)
        self.end_channel()

    def _accept(self, queue: str, messages: list[Message]) -> list[Delivery]:
        try:
            return self._delivered(queue, messages)
        except BackendUnavailableError:
            # what is put aside or counted as lost must be sent, and an alarm may prevent that
            taken = {each.tag for each in messages}
            for entry in [name for name, held in self._held.items() if held.tag in taken]:
                del self._held[entry]
            self.keep([each for each in messages if each.tag not in self._unsure])
            raise

    def _delivered(self, queue: str, messages: list[Message]) -> list[Delivery]:
        """Make deliveries of messages; those that are lost jobs are put where these wait."""
        now = self.broker.now()
        deliveries: list[Delivery] = []
        came_back: list[tuple[int, Envelope, Delivery]] = []
        aside: list[tuple[int, Parcel]] = []
        over: list[int] = []
        for message in messages:
            envelope = read(message, now)
            delivery = envelope.handed_out(text_of(message.body), queue)
            if message.redelivered:
                came_back.append((message.tag, envelope, delivery))
            elif envelope.expires_at is not None and envelope.expires_at <= now:
                over.append(message.tag)
            elif envelope.lost and len(messages) > 1:
                aside.append((message.tag, Parcel(envelope, delivery.body)))
            else:
                self._held[envelope.entry] = Held(message.tag, envelope, delivery)
                deliveries.append(delivery)
        if came_back or aside:
            self.intake.suspicious = True
            self._lose(came_back)
            self._send_again(queue, aside)
        if over:
            self.answer(over, sure=False)
        return deliveries

    def _lose(self, lost: Sequence[tuple[int, Envelope, Delivery]]) -> None:
        """Count deliveries that ended without an answer, and send the jobs again."""
        if not lost:
            return
        now = self.broker.now()
        known = self.broker.directory.read()
        for tag, envelope, delivery in lost:
            listed = known.get(delivery.queue)
            options = listed.options if listed else QueueOptions()
            if listed is not None and envelope.sent_at < listed.looked_at:
                # somebody looked at it, which the broker does not tell from a loss
                parcel = Parcel(envelope.again(now), delivery.body)
            else:
                parcel = lost_once_more(envelope, delivery, options, now)
            self._send_again(delivery.queue, [(tag, parcel)])

    def _send_again(self, queue: str, parcels: Sequence[tuple[int, Parcel]]) -> None:
        """Send, and acknowledge what it replaces.

        Raises:
            QueueNotFoundError: the queue is gone. What was to be replaced goes back to the broker,
                which has no place for it if that is true.
            BackendUnavailableError: whether it was sent is not known; what it replaces stays.
        """
        if not parcels:
            return
        tags = [tag for tag, _ in parcels]
        try:
            self.broker.sender.send(queue, [each for _, each in parcels], self.broker.now())
        except QueueNotFoundError:
            self.requeue(tags)
            raise
        except BackendUnavailableError:
            self._unsure.update(tags)
            raise
        self.answer(tags, sure=True)

    def _give_back(self) -> None:
        """Send back what was pushed ahead and not handed out."""
        if self.intake.inbox is None:
            return
        messages = self.intake.give_up_buffer()
        self.intake.opened()
        now = self.broker.now()
        names = {self.broker.sender.names(name).main: name for name in self.broker.directory.known}
        while messages:
            message = messages[0]
            queue = names.get(message.source, message.source)
            envelope = read(message, now)
            try:
                if message.redelivered:
                    delivery = envelope.handed_out(text_of(message.body), queue)
                    self._lose([(message.tag, envelope, delivery)])
                else:
                    parcel = Parcel(envelope.again(now), text_of(message.body))
                    self._send_again(queue, [(message.tag, parcel)])
            except BackendUnavailableError:
                self.intake.put_back([each for each in messages if each.tag not in self._unsure])
                raise
            del messages[0]

    # settling

    def _settle(self, settlements: Sequence[Settlement], *, sure: bool) -> list[Settlement]:
        """Settle, each with the holder that has it; `sure` returns when the broker has seen it."""
        if not settlements:
            return []
        if all(self.has(each.delivery) for each in settlements):
            return self.settle_own(settlements, sure=sure)
        owners: dict[RabbitHolder, list[Settlement]] = {}
        stale: list[Settlement] = []
        for each in settlements:
            owner = self if self.has(each.delivery) else self.broker.holder_of(each.delivery)
            if owner is None:
                stale.append(each)
            else:
                owners.setdefault(owner, []).append(each)
        for owner, own in owners.items():
            stale += owner.settle_own(own, sure=sure or owner is not self)
        return stale

    def settle_own(self, settlements: Sequence[Settlement], *, sure: bool) -> list[Settlement]:
        """Settle what this very holder has; return what it has not, or not any more."""
        with self._settling:
            stale: list[Settlement] = []
            done: dict[int | str, int] = {}
            again: dict[str, list[tuple[Settlement, Held]]] = {}
            for each in settlements:
                entry = each.delivery.entry
                held = self._held.get(entry)  # its channel may have ended since: as good as a crash
                if held is None or entry in done:
                    stale.append(each)
                    continue
                done[entry] = held.tag
                if each.verdict != "ack":
                    again.setdefault(each.delivery.queue, []).append((each, held))
            for queue, ended in again.items():
                stale += self._send_on(queue, ended)
            self.answer(list(done.values()), sure=sure)
            for entry in done:
                self._held.pop(entry, None)
        return stale

    def has(self, delivery: Delivery) -> bool:
        """Tell whether a delivery is held here, still."""
        held = self._held.get(delivery.entry)
        if held is None or held.delivery.delivery != delivery.delivery:
            return False
        inbox = self.intake.inbox
        return inbox is not None and inbox.wire.closed is None

    def forget(self, queue: str) -> None:
        """Forget deliveries of a queue that was deleted."""
        with self._settling:
            gone = [each for each in self._held.values() if each.delivery.queue == queue]
            for each in gone:
                del self._held[each.delivery.entry]
            self.answer([each.tag for each in gone], sure=True)

    def _send_on(self, queue: str, ended: list[tuple[Settlement, Held]]) -> list[Settlement]:
        """Send jobs that are not done; return those whose queue is gone."""
        now = self.broker.now()
        parcels = [parcel_of(settlement, held, now) for settlement, held in ended]
        try:
            self.broker.sender.send(queue, parcels, now)
        except QueueNotFoundError:
            return [settlement for settlement, _ in ended]
        return []

    def _forget(self) -> None:
        self._held.clear()
        self._unsure.clear()


def parcel_of(settlement: Settlement, held: Held, now: float) -> Parcel:
    """Return the job of a delivery that was not completed, as it is sent again."""
    delivery = settlement.delivery
    attempts = held.envelope.attempts if settlement.verdict == "release" else settlement.attempts
    envelope = held.envelope.again(now, delivery=delivery.delivery, attempts=attempts)
    if settlement.verdict == "reject":
        failure = settlement.failure or Failure("rejected", "Reject", "no reason was given")
        return Parcel(envelope, held.delivery.body, failure=failure)
    if settlement.verdict == "nack" and settlement.delay > 0:
        envelope = envelope._replace(due_at=now + settlement.delay)
        return Parcel(envelope, held.delivery.body, settlement.delay)
    return Parcel(envelope, held.delivery.body)


def lost_once_more(
    envelope: Envelope, delivery: Delivery, options: QueueOptions, now: float
) -> Parcel:
    """Return the job of a delivery that ended without an answer: to run again, or as poison."""
    lost = envelope.lost + 1
    again = envelope.again(now, delivery=delivery.delivery, lost=lost)
    if lost < options.max_deliveries:
        return Parcel(again, delivery.body)
    message = (
        f"{lost} deliveries ended without an answer: the consumer died or was cut off each time"
    )
    return Parcel(again, delivery.body, failure=Failure("poison", "PoisonJob", message))
