"""The server is killed with SIGKILL while jobs are published and run, and comes back."""

import sys

import pytest
from crew import Crew
from outage import Outage
from places import SERVERS
from traffic import Traffic


def outlive(crew: Crew, rounds: int) -> None:
    outage = Outage(crew, Traffic(crew), rounds)
    outage.run()
    outage.traffic.end()
    summary = outage.traffic.summary() | {"kills": rounds, "back within": outage.slowest}
    sys.stdout.write(f"{summary}\n")  # seen with -rP
    outage.check()


@pytest.mark.parametrize("crew", SERVERS, indirect=True)
def test_a_server_that_is_killed_and_comes_back_has_lost_no_job(crew: Crew) -> None:
    outlive(crew, 2)


@pytest.mark.stress
@pytest.mark.timeout(900)
@pytest.mark.parametrize("crew", SERVERS, indirect=True)
def test_a_server_that_is_killed_again_and_again_has_lost_no_job(crew: Crew) -> None:
    outlive(crew, 30)
