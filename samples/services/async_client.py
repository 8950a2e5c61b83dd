"""Async client: every method of a client has a twin with an `a` before it, for asyncio.

python samples/services/async_client.py
"""

import asyncio

from mindtrace.services.samples.echo_service import EchoService


async def main() -> None:
    """Make twenty calls at once, each of which takes a while."""
    async with EchoService.launch(port=0) as echo:
        calls = [echo.aecho(message=f"call {number}", delay=0.2) for number in range(20)]
        answers = await asyncio.gather(*calls)
        print(f"{len(answers)} answers, the last to {answers[-1].echoed!r}")
        print(f"status: {(await echo.astatus()).status.value}")


if __name__ == "__main__":
    asyncio.run(main())
