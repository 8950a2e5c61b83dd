"""How a holder gets its messages: by looking, by waiting for a push, or ahead of its handlers.

- A look takes what is ready with gets, exactly as many as were asked for.
- With nothing there, the broker pushes the next message when it comes, one at a time.
- With plenty there, it pushes ahead, up to the largest of `STEPS` that the caller asked for. This
  is three times as fast, because broker and handlers work at the same time.

Only one thread at a time uses this; `wake` may come from any, and from a signal handler.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from queue import Empty
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

from mindtrace.jobs_rabbitmq.inbox import Inbox
from mindtrace.jobs_rabbitmq.wire import count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mindtrace.jobs_rabbitmq.link import Link
    from mindtrace.jobs_rabbitmq.message import Message
    from mindtrace.jobs_rabbitmq.names import Names

LOOK_AGAIN = 1.0
"""Seconds that a waiting holder blocks at most before it looks for lost jobs."""

PLENTY = 10
"""Jobs that one look must bring, as many as asked for, before the broker pushes ahead."""

STEPS = (250, 50, 10)
"""How many jobs the broker pushes ahead. The consumer takes half of them at a time, so that the
broker sends on while the other half runs."""

DRAINED_AFTER = 0.02
"""Seconds without a push after which there is no plenty any more."""

QUICK = 0.003
"""Seconds within which a pushed job must have waited already, rather than just been published."""


class Source(NamedTuple):
    """A job queue to take from."""

    queue: str
    names: Names


class Taken(NamedTuple):
    """Messages of one queue; none when there was nothing in time."""

    queue: str
    messages: list[Message]


NOTHING = Taken("", [])


class ChannelLostError(Exception):
    """The channel ended, and with it every delivery; the cause says why."""


class Intake:
    """Takes messages for one holder.

    Attributes:
        inbox: the channel, opened at the first use.
        out: tags of what was taken and is not settled.
        suspicious: whether lost jobs should be looked for before anything else.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self.inbox: Inbox | None = None
        self.out: set[int] = set()
        self.suspicious = False
        self._buffer: deque[Message] = deque()
        self._window = 0  # how many may be pushed and unsettled; 0 when nothing is pushed
        self._turn = 0
        self._plenty = False
        self._quick = 0
        self._looked_at = 0.0
        self._pushed: int | None = None  # the tag of the last message that was pushed alone
        self.woken = False  # a plain flag: a signal handler sets it, whatever it interrupted

    def wake(self) -> None:
        """Make a waiting `take` return."""
        self.woken = True
        if self.inbox is not None:
            self.inbox.arrived.put([])

    def opened(self) -> Inbox:
        """Return the channel, open.

        Raises:
            ChannelLostError: it ended since it was used last.
        """
        if self.inbox is None:
            self.inbox = self._link.call(Inbox.open)
        if self.inbox.closed is not None:
            reason = self.inbox.closed
            self.forget()
            raise ChannelLostError from reason
        return self.inbox

    def forget(self) -> None:
        """Forget a channel that ended: all that it had is back in the broker."""
        self.inbox = None
        self.out.clear()
        self._buffer.clear()
        self._window, self._plenty, self._pushed = 0, False, None

    def take(self, sources: Sequence[Source], limit: int, wait: float | None) -> Taken:
        """Take up to `limit` messages of one queue, waiting so long for the first."""
        inbox = self.opened()
        end = None if wait is None else monotonic() + wait
        if self._window and not self._may_go_on(sources, limit, wait):
            self.pause()
        if self._window > 1 and (found := self._pushed_ahead(inbox, sources, limit)).messages:
            return found
        if self._buffer and (found := self._buffered(sources, limit)).messages:
            return found
        if self._window != 1 and (found := self._look(inbox, sources, limit, wait)).messages:
            return found
        if wait == 0 or self.woken:
            return self._buffered(sources, limit)
        return self._listen(inbox, sources, end)

    def pause(self) -> None:
        """Stop pushing; the next `take` brings what was pushed and not taken."""
        inbox = self.inbox
        if inbox is None:
            return
        if self._window and inbox.closed is None:
            self._link.call(lambda _: inbox.stop_listening())
        self._window, self._pushed = 0, None
        self._gather(inbox, None)

    def give_up_buffer(self) -> list[Message]:
        """Stop pushing and hand over what was pushed and not taken: it will not be taken."""
        self.pause()
        found = list(self._buffer)
        self._buffer.clear()
        return found

    def put_back(self, messages: Sequence[Message]) -> None:
        """Have these be taken next."""
        self._buffer.extendleft(reversed(messages))

    def settled(self, tags: Sequence[int]) -> None:
        """Messages have their answer."""
        self.out.difference_update(tags)

    def _may_go_on(self, sources: Sequence[Source], limit: int, wait: float | None) -> bool:
        """Tell whether the broker may go on pushing as it does."""
        assert self.inbox is not None
        mains = {each.names.main for each in sources}
        return (
            wait != 0
            and not self.suspicious
            and limit >= self._window
            and mains == self.inbox.listening.keys()
            and (self._window > 1 or self._pushed not in self.out)
            and not (self._window == 1 < limit and self._quick > 1)
            and not (self._window == 1 and self._is_time_to_look())
        )

    def _is_time_to_look(self) -> bool:
        return monotonic() - self._looked_at > LOOK_AGAIN

    # looking

    def _look(
        self, inbox: Inbox, sources: Sequence[Source], limit: int, wait: float | None
    ) -> Taken:
        """Look once through the queues, beginning after the one served last."""
        self._quick = 0
        ahead = self._plenty and wait != 0 and len(sources) == 1 and limit >= PLENTY
        if ahead and not self.suspicious:
            return self._go_ahead(inbox, sources, limit)
        self._looked_at = monotonic()
        self.suspicious = self._plenty = False
        for offset in range(len(sources)):
            place = (self._turn + offset) % len(sources)
            source = sources[place]
            messages = self._link.call(partial(_look_in, inbox, source.names, limit))
            if messages:
                self._turn = place + 1
                self._plenty = len(messages) == limit and messages[0].source == source.names.main
                return self._taken(source.queue, messages)
        return NOTHING

    # ahead of the handlers

    def _go_ahead(self, inbox: Inbox, sources: Sequence[Source], limit: int) -> Taken:
        self._window = next(step for step in STEPS if step <= limit)
        names, window = sources[0].names, self._window
        self._link.call(lambda _: inbox.listen([names.main], window))
        self._looked_at = monotonic()
        return self._pushed_ahead(inbox, sources, limit)

    def _pushed_ahead(self, inbox: Inbox, sources: Sequence[Source], limit: int) -> Taken:
        """Take what was pushed; with nothing for a moment, stop the pushing."""
        self._gather(inbox, DRAINED_AFTER)
        self.opened()
        if not self._buffer or not inbox.listening:
            self._plenty = False
            self.pause()
        elif self._is_time_to_look():
            self.suspicious = self._any_lost(sources)
            self._looked_at = monotonic()
        return self._buffered(sources, min(limit, max(1, self._window // 2)))

    def _gather(self, inbox: Inbox, within: float | None) -> None:
        """Put what was pushed into the buffer; wait for the first, if it is empty."""
        try:
            if not self._buffer and within is not None:
                self._buffer.extend(inbox.arrived.get(timeout=within))
            while True:
                self._buffer.extend(inbox.arrived.get_nowait())
        except Empty:
            pass

    def _any_lost(self, sources: Sequence[Source]) -> bool:
        return bool(self._link.call(lambda connection: count(connection, sources[0].names.lost)))

    # one at a time

    def _listen(self, inbox: Inbox, sources: Sequence[Source], end: float | None) -> Taken:
        """Wait for the next message of any of the queues."""
        mains = [each.names.main for each in sources]
        if not self._window:
            self._window = 1
            self._link.call(lambda _: inbox.listen(mains, 1))
        began = monotonic()
        while True:
            left = LOOK_AGAIN if end is None else end - monotonic()
            self._gather(inbox, min(max(left, 0.0), LOOK_AGAIN))
            self.opened()
            if self._buffer:
                return self._came(self._buffer.popleft(), sources, monotonic() - began)
            if self.woken or left <= 0 or not inbox.listening:
                self.pause()
                return self._buffered(sources, 1)
            if self._is_time_to_look():
                found = self._lost_one(inbox, sources)
                if found.messages:
                    self.pause()
                    return found

    def _came(self, message: Message, sources: Sequence[Source], waited: float) -> Taken:
        if len(sources) > 1:
            self.pause()  # the other queues would go on pushing
        self._quick = self._quick + 1 if waited < QUICK else 0
        self._pushed = message.tag
        place, source = next(
            (place, each) for place, each in enumerate(sources) if each.names.main == message.source
        )
        self._turn = place + 1
        return self._taken(source.queue, [message])

    def _lost_one(self, inbox: Inbox, sources: Sequence[Source]) -> Taken:
        self._looked_at = monotonic()
        for source in sources:
            names = source.names
            messages = self._link.call(partial(_get_one, inbox, names.lost))
            if messages:
                return self._taken(source.queue, messages)
        return NOTHING

    # what was pushed already

    def _buffered(self, sources: Sequence[Source], limit: int) -> Taken:
        """Take from the buffer: what was pushed or put back before, all of one queue."""
        for source in sources:
            here = (source.names.main, source.names.lost)
            found = [each for each in self._buffer if each.source in here][:limit]
            if found:
                for each in found:
                    self._buffer.remove(each)
                return self._taken(source.queue, found)
        return NOTHING

    def _taken(self, queue: str, messages: list[Message]) -> Taken:
        self.out.update(each.tag for each in messages)
        return Taken(queue, messages)


async def _look_in(inbox: Inbox, names: Names, limit: int, _: object) -> list[Message]:
    return await inbox.look(names, limit)


async def _get_one(inbox: Inbox, queue: str, _: object) -> list[Message]:
    return await inbox.get(queue, 1)
