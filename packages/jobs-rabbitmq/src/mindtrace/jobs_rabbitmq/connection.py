"""pika's connection, made to be awaited, and its channel.

Everything here runs in the thread of one event loop. This is the one module that reaches into
pika: it sends frames that were encoded beforehand, reads what is pushed by ourselves, and passes on
gets and deliveries without pika's checks. So `basic.get` may be under way several times at once,
and what the broker still delivers after a `basic.cancel` is taken; pika would reject it, and a
message that was rejected counts as lost.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pika.channel
from pika import exceptions, frame
from pika.adapters.asyncio_connection import AsyncioConnection

from mindtrace.jobs_rabbitmq.deliveries import DELIVER, HEAD, METHOD, pushed

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from mindtrace.jobs_rabbitmq.address import Address
    from mindtrace.jobs_rabbitmq.wire import Wire


class Channel(pika.channel.Channel):
    """pika's channel, which tells its `Wire` of gets and deliveries."""

    wire: Wire

    if TYPE_CHECKING:  # pika does not say of what type these are

        def add_on_close_callback(self, callback: Callable[..., object]) -> None:
            """Have something called when it is closed."""

        def add_on_cancel_callback(self, callback: Callable[..., object]) -> None:
            """Have something called when the broker ends a consumer."""

        def add_on_return_callback(self, callback: Callable[..., object]) -> None:
            """Have something called when a message cannot be routed."""

    def _on_getok(self, method: Any, header: Any, body: bytes) -> None:
        self.wire.got(method.method, header.properties, body)

    def _on_getempty(self, method: Any) -> None:  # noqa: ARG002 - pika's signature
        self.wire.got(None, None, b"")

    def _on_deliver(self, method: Any, header: Any, body: bytes) -> None:
        self.wire.delivered(method.method, header.properties, body)


class Connection(AsyncioConnection):
    """pika's connection, which makes channels of ours and can be awaited."""

    blocked = False
    """Whether the broker takes no publishes now: its memory or disk alarm is on."""

    if TYPE_CHECKING:  # of pika's own
        _frame_buffer: bytes
        bytes_received: int
        _channels: dict[int, Any]
        _transport: Any

        def _process_frame(self, frame_value: Any) -> None: ...
        def _terminate_stream(self, error: Any) -> None: ...
        def _output_marshaled_frames(self, marshaled_frames: Any) -> None: ...

    @classmethod
    async def open(
        cls, address: Address, purpose: str, on_lost: Callable[[BaseException], None]
    ) -> Self:
        """Connect; `on_lost` is called once if the connection ends later."""
        loop = asyncio.get_running_loop()
        opened: asyncio.Future[None] = loop.create_future()

        def fail(_: object, error: BaseException | str) -> None:
            if not opened.done():
                wrapped = error if isinstance(error, BaseException) else ConnectionError(error)
                opened.set_exception(wrapped)

        self = cls(
            address.parameters(purpose),
            on_open_callback=lambda _: resolve(opened, None),
            on_open_error_callback=fail,
            on_close_callback=lambda _, reason: on_lost(reason),
            custom_ioloop=loop,
        )
        self.add_on_connection_blocked_callback(self._is_blocked)
        self.add_on_connection_unblocked_callback(self._is_unblocked)
        await opened
        return self

    def _is_blocked(self, *_: object) -> None:
        self.blocked = True

    def _is_unblocked(self, *_: object) -> None:
        self.blocked = False

    def _create_channel(self, channel_number: int, on_open_callback: Any) -> Channel:
        return Channel(self, channel_number, on_open_callback)

    def _on_data_available(self, data_in: bytes) -> None:
        """Read what came: small pushed messages here, the rest as pika does, frame by frame."""
        buffer = self._frame_buffer + data_in if self._frame_buffer else data_in
        try:
            at = self._read(buffer)
        except exceptions.InvalidFrameError as error:
            self._frame_buffer = b""
            self._terminate_stream(error)
            return
        self._frame_buffer = buffer[at:]
        self.bytes_received += at

    def _read(self, buffer: bytes) -> int:
        """Handle the frames that are whole; return where the rest begins."""
        at, size = 0, len(buffer)
        while size - at >= HEAD.size:
            kind, channel, length = HEAD.unpack_from(buffer, at)
            end = at + length + 8
            if end > size:
                if length > self.frame_max:
                    # another protocol, or a broker that speaks another version
                    raise exceptions.InvalidFrameError
                break
            if kind == METHOD and channel and buffer[at + 7 : at + 11] == DELIVER:
                message = pushed(buffer, at)
                open_channel = self._channels.get(channel)
                if message is not None and open_channel is not None:
                    open_channel.wire.pushed(message)
                    at = message.end
                    continue
            _, value = frame.decode_frame(buffer[at:end])
            at = end
            self._process_frame(value)
        return at

    def send(self, frames: bytes) -> None:
        """Send frames that are encoded already."""
        self._output_marshaled_frames([frames])

    @property
    def frame_max(self) -> int:
        """The most bytes of a frame, as agreed with the broker."""
        found: int = self.params.frame_max
        return found

    def descriptor(self) -> Any:
        """Return the socket, so that a forked child can let go of it."""
        return getattr(self._transport, "_sock", None)


def resolve(future: asyncio.Future[Any], value: object) -> None:
    """Give a future its value, unless it has ended already."""
    if not future.done():
        future.set_result(value)
