"""Typed handlers: a function of models is a consumer, and a handle brings its result back.

python samples/jobs/typed_handlers.py
"""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from threading import Thread

from pydantic import BaseModel

from mindtrace.jobs import Consumer, JobFailedError, JobSchema, LocalClient, Orchestrator


class Order(BaseModel):
    """What goes in."""

    items: list[float]
    discount: float = 0.0


class Invoice(BaseModel):
    """What comes out."""

    total: float


BILLING = JobSchema(name="billing", input_schema=Order, output_schema=Invoice)
SHIPPING = JobSchema(name="shipping", input_schema=Order)


@BILLING.handler
def bill(order: Order) -> Invoice:
    """Run in the consumer's thread; what is returned must be an invoice."""
    if not order.items:
        raise ValueError("an order without items")
    return Invoice(total=sum(order.items) * (1 - order.discount))


@SHIPPING.handler(timeout=5)
async def ship(order: Order) -> None:
    """Run in an event loop, beside others; `Consumer.progress` can be read through the handle."""
    with Consumer.progress(total=len(order.items)) as progress:
        for _ in order.items:
            await asyncio.sleep(0.1)
            progress.advance()


@contextmanager
def consuming(consumer: Consumer, concurrency: int) -> Generator[None]:
    """Consume beside the block; in real life this is another process."""
    thread = Thread(target=consumer.consume, kwargs={"concurrency": concurrency})
    thread.start()
    try:
        yield
    finally:
        consumer.stop()
        thread.join()


def call_and_wait(orchestrator: Orchestrator) -> None:
    """Wait for one result, and for one failure."""
    handle = orchestrator.submit(BILLING, Order(items=[30, 20], discount=0.1))
    print(f"invoice: {handle.result(timeout=10)!r}, the job is {handle.status}")

    handle = orchestrator.submit(BILLING, {"items": []})
    try:
        handle.result(timeout=10)
    except JobFailedError as error:
        print(f"failed:  {error}")


async def await_many(orchestrator: Orchestrator) -> None:
    """Wait for several jobs at once."""
    handles = [orchestrator.submit(SHIPPING, Order(items=[1.0] * n)) for n in (1, 2, 3)]
    await asyncio.gather(*handles)
    print(f"shipped: {[handle.progress for handle in handles]}")


if __name__ == "__main__":
    print(f"direct:  {bill(Order(items=[1, 2]))!r}, without a queue")
    jobs = Orchestrator(LocalClient.in_memory())
    bill.connect(jobs)
    ship.connect(jobs)
    with consuming(bill, concurrency=1), consuming(ship, concurrency=3):
        call_and_wait(jobs)
        asyncio.run(await_many(jobs))
