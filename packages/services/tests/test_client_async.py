"""The client from event loops."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from services_support import EachService, Pair, Peer, Sum, eventually, launched, ok

from mindtrace.services import (
    RequestInvalidError,
    ServerStatus,
    ServiceError,
    ServiceTimeoutError,
    ServiceUnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

pytestmark = pytest.mark.process


@asynccontextmanager
async def client(url: object) -> AsyncGenerator[Any]:
    manager = EachService.client_class()(str(url))
    async with manager.only_talking():
        yield manager


def test_every_form_of_call_works_from_a_loop(each: Any) -> None:
    async def calls() -> None:
        async with client(each.url) as manager:
            assert await manager.aadd(a=1, b=2) == Sum(total=3)
            assert await manager.aadd(Pair(a=1, b=2)) == Sum(total=3)
            assert await manager.aadd({"a": 1}) == Sum(total=1)
            assert await manager.aadd(a=1, validate_output=False) == {"total": 1}
            assert (await manager.afind(word="x", tags=["a", "b"])).tags == ["a", "b"]
            assert await manager.aping() is None
            assert (await manager.astatus()).status is ServerStatus.AVAILABLE
            assert (await manager.aheartbeat()).heartbeat.status is ServerStatus.AVAILABLE
            with pytest.raises(ValueError, match=r"add\(\) must be called with"):
                await manager.aadd(1)
            with pytest.raises(RequestInvalidError):
                await manager.aadd(a="x", validate_input=False)
            with pytest.raises(ServiceError, match="it is wrong"):
                await manager.afail(how="value")

    asyncio.run(calls())


def test_two_hundred_calls_at_once_share_a_client(each: Any) -> None:
    async def calls() -> list[float]:
        async with client(each.url) as manager:
            answers = await asyncio.gather(*(manager.aadd(a=n, b=1) for n in range(200)))
        return [each.total for each in answers]

    assert asyncio.run(calls()) == [n + 1 for n in range(200)]


def test_one_connection_serves_calls_one_after_the_other() -> None:
    async def calls(url: str) -> None:
        async with client(url) as manager:
            for _ in range(5):
                await manager.aadd(a=1)
            await manager.aclose()
            await manager.aclose()
            await manager.aadd(a=1)

    with Peer(lambda _: ok({"total": 3})) as peer:
        asyncio.run(calls(peer.url))

        assert (len(peer.connections), len(peer.requests)) == (2, 6)


def test_a_call_is_made_again_only_where_that_is_safe() -> None:
    async def call(url: str, name: str, **given: Any) -> None:
        async with client(url) as manager:
            await getattr(manager, name)(**given)

    for name, given, times in (("aadd", {"a": 1}, 1), ("afind", {"word": "x"}, 3)):
        with Peer(lambda _: None) as peer:
            with pytest.raises(ServiceUnavailableError, match="may have been carried out"):
                asyncio.run(call(peer.url, name, **given))
            assert len(peer.requests) == times


def test_silence_ends_with_the_timeout() -> None:
    async def call(url: str) -> None:
        async with client(url) as manager:
            assert (await manager.astatus(timeout=0.2)).status is ServerStatus.DOWN
            await manager.aadd(a=1, timeout=0.2)

    with Peer(lambda _: b"") as peer, pytest.raises(ServiceTimeoutError):
        asyncio.run(call(peer.url))


def test_a_cancelled_call_leaves_the_client_in_order(each: Any) -> None:
    async def calls() -> Sum:
        async with client(each.url) as manager:
            held = asyncio.create_task(manager.ahold())
            await asyncio.to_thread(eventually, lambda: each.held().now == 1)
            held.cancel()
            with pytest.raises(asyncio.CancelledError):
                await held
            await manager.arelease()
            return await manager.aadd(a=1, b=2)  # type: ignore[no-any-return]

    assert asyncio.run(calls()) == Sum(total=3)


def test_a_context_manager_ends_the_service() -> None:
    async def run(url: object) -> None:
        async with EachService.connect(url) as manager:
            await manager.aadd(a=1)

    with launched(EachService) as owner:
        asyncio.run(run(owner.url))
        assert owner._child.wait(60)
        asyncio.run(gone(owner.url))


async def gone(url: object) -> None:
    async with client(url) as manager:
        with pytest.raises(ServiceUnavailableError):
            await manager.ashutdown()
        assert (await manager.astatus()).status is ServerStatus.DOWN


LOOPS = """
import asyncio, gc, sys, threading
from mindtrace.services.samples.echo_service import EchoService

client = EchoService.client_class()(sys.argv[1])

async def calls():
    await asyncio.gather(*(client.aheartbeat() for _ in range(5)))
    return client.heartbeat()

asyncio.run(calls())
asyncio.run(calls())
threads = [threading.Thread(target=asyncio.run, args=(calls(),)) for _ in range(4)]
for each in threads: each.start()
for each in threads: each.join()
del client
gc.collect()
"""


def test_loops_in_turn_and_at_once_leave_no_connection_behind(each: Any) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", LOOPS, str(each.url)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
