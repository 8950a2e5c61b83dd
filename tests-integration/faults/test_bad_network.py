"""Between client and server the network delays, hangs, resets, and cuts in the middle of a word."""

import random
import sys
from collections.abc import Callable
from typing import TypeVar

import pytest
import verdict
from crew import Crew
from network import NOTICED_WITHIN, Network, far
from orders import Orders
from places import RABBITMQ, REDIS, SERVERS
from proxy import CHUNK, FaultProxy
from traffic import Traffic

from mindtrace.jobs import BackendUnavailableError, Job, Orchestrator
from mindtrace.jobs.testing.waiting import eventually, pause

T = TypeVar("T")
SLOW = 400_000
"""Bytes per second."""
LARGE = 20 * CHUNK
OPENING = (1, 14, 60, 200, 380, 400)
"""Bytes that a client says until its connection is cut: before, while and after it logs in."""


def weather(crew: Crew, rounds: int) -> None:
    traffic = Traffic(crew)
    with FaultProxy("127.0.0.1", crew.server.port) as proxy:
        network = Network(crew, traffic, proxy)
        network.begin()
        for number in range(rounds):
            network.delay()
            network.hang_for_a_moment()
            network.reset()
            network.cut_commands(random.Random(number))
            network.refuse()
            network.hang()
        traffic.end()
    summary = traffic.summary() | {"hit": network.hits, "connections": proxy.accepted}
    sys.stdout.write(f"{summary}\n")  # seen with -rP
    assert all(network.hits.values())


@pytest.mark.parametrize("crew", SERVERS, indirect=True)
def test_a_network_that_does_its_worst_loses_no_job(crew: Crew) -> None:
    weather(crew, 1)


@pytest.mark.stress
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("crew", SERVERS, indirect=True)
def test_a_network_that_does_its_worst_for_long_loses_no_job(crew: Crew) -> None:
    weather(crew, 15)


CARRIERS = [REDIS, RABBITMQ]
"""Where the job itself travels between client and server; with a ledger it is but its name."""


def large(number: int) -> Job:
    payload = {"do": "work", "seconds": 0.0, "ballast": "x" * LARGE}
    return Job(name="work", payload=payload, id=f"large-{number}")


@pytest.mark.parametrize("crew", SERVERS, indirect=True)
def test_a_connection_that_is_cut_while_it_opens_is_opened_again(crew: Crew) -> None:
    """And nobody takes it for a refused login. It may be that of the process that keeps leases."""
    crew.declare()
    ids: list[str] = []
    with FaultProxy("127.0.0.1", crew.server.port) as proxy:
        for size in OPENING:
            orchestrator = Orchestrator(far(crew, proxy).open())
            before = proxy.cut_short
            proxy.cut_after(size)
            holder = at_most_twice(orchestrator.backend.store.holder)
            ids.append(orchestrator.publish("work", quick()))
            holder.close()
            orchestrator.close()
            assert proxy.cut_short == before + 1, "nothing was cut"
    crew.consumer()
    verdict.come_to_rest(crew, ids)
    verdict.check(crew, ids)


def at_most_twice(call: Callable[[], T]) -> T:
    """Call; once more after an error that says that this may help."""
    try:
        return call()
    except BackendUnavailableError as error:
        if not error.transient:
            raise
    return call()


def quick() -> Job:
    return Job(name="work", payload={"do": "work", "seconds": 0.0})


@pytest.mark.parametrize("crew", CARRIERS, indirect=True)
def test_an_answer_that_is_cut_in_its_middle_is_no_lost_job(crew: Crew) -> None:
    crew.declare()
    ids = crew.orchestrator.publish_many("work", [large(number) for number in range(3)])
    with FaultProxy("127.0.0.1", crew.server.port) as proxy:
        proxy.rate = SLOW
        worker = crew.start(Orders(role="consume", place=far(crew, proxy)))
        left = lambda: crew.orchestrator.queue_stats("work").ready  # noqa: E731
        eventually(lambda: left() < len(ids), within=NOTICED_WITHIN, what="jobs on their way")
        pause(2.5 * CHUNK / SLOW)  # so that a part of them has come through
        assert not worker.lines("received"), "the answer was through already"
        proxy.rate = None
        proxy.cut()

        eventually(lambda: set(ids) <= verdict.effects(crew), within=NOTICED_WITHIN)
        verdict.come_to_rest(crew, ids)
    assert proxy.accepted > 1
    verdict.check(crew, ids)


@pytest.mark.parametrize("crew", CARRIERS, indirect=True)
def test_a_publish_that_is_cut_in_its_middle_can_be_repeated(crew: Crew) -> None:
    crew.declare()
    with FaultProxy("127.0.0.1", crew.server.port) as proxy:
        orchestrator = Orchestrator(far(crew, proxy).open())
        small = orchestrator.publish("work", quick())
        before = proxy.accepted
        proxy.cut_after(LARGE // 2)
        at_most_twice(lambda: orchestrator.publish("work", large(0)))
        orchestrator.close()

        assert proxy.accepted > before, "nothing was cut"
    crew.consumer()
    verdict.come_to_rest(crew, [small, "large-0"])
    verdict.check(crew, [small, "large-0"])
    assert verdict.completions(crew)["large-0"] == 1, "half a message was no message"
