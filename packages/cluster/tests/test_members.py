"""What a manager remembers of workers and nodes; the real ones are in test_failures.py."""

import socket

import pytest
from cluster_stores import Stores

from mindtrace.cluster.core.types import RegisterNodeInput, WorkerReport, WorkerStatusEnum
from mindtrace.cluster.members import CLIENTS, Members

NODE = "http://localhost:1/"


def report(worker_id: str = "w", port: int = 2) -> WorkerReport:
    return WorkerReport(
        worker_id=worker_id,
        worker_type="Echo",
        worker_url=f"http://localhost:{port}/",
        status=WorkerStatusEnum.IDLE,
    )


def words(members: Members) -> list[str]:
    return [each.status for each in members.nodes()]


def test_a_node_is_lost_after_ten_seconds_of_silence(stores: Stores) -> None:
    members = stores.members
    members.heard_of_node(RegisterNodeInput(node_url=NODE))

    stores.clock.sleep(9.9)
    assert words(members) == ["alive"]
    stores.clock.sleep(0.2)
    assert words(members) == ["lost"]
    members.heard_of_node(RegisterNodeInput(node_url=NODE))
    assert words(members) == ["alive"]


def test_who_is_silent_for_a_day_is_forgotten(stores: Stores) -> None:
    members = stores.members
    members.heard_of_node(RegisterNodeInput(node_url=NODE))
    members.heard_of_worker(report("old", 2))
    stores.clock.sleep(24 * 3600 - 1)
    members.heard_of_worker(report("new", 2))
    members.forget()
    assert [each.worker_id for each in members.workers()] == ["new", "old"]

    stores.clock.sleep(2)
    members.forget()

    assert members.nodes() == []
    assert [each.worker_id for each in members.workers()] == ["new"]
    assert members.by_id("old").status == "nonexistent"
    assert members.by_url("http://localhost:2").worker_id == "new"


def test_clients_of_members_are_kept_up_to_a_number(stores: Stores) -> None:
    members = stores.members
    first = members.node_at(NODE)
    assert members.node_at(NODE.rstrip("/")) is first

    for port in range(2, CLIENTS + 2):
        members.worker_at(f"http://localhost:{port}")

    assert members.node_at(NODE) is not first


def test_a_worker_that_is_silent_is_not_said_to_be_idle(stores: Stores) -> None:
    """Each that is launched anew is another one; those that died would look as if they waited."""
    members = stores.members
    members.heard_of_worker(report("killed"))
    members.heard_of_worker(
        report("ended", 3).model_copy(update={"status": WorkerStatusEnum.SHUTDOWN})
    )
    assert members.by_id("killed").status == "idle"

    stores.clock.sleep(10.1)

    assert members.by_id("killed").status == "nonexistent"
    assert members.by_url("http://localhost:2").status == "nonexistent"
    assert {each.worker_id: str(each.status) for each in members.workers()} == {
        "killed": "nonexistent",
        "ended": "shutdown",
    }
    members.heard_of_worker(report("killed"))
    assert members.by_id("killed").status == "idle"


def test_nobody_makes_the_manager_call_an_address_by_asking_for_a_worker_there(
    stores: Stores,
) -> None:
    """The call would show the token of the nodes to whoever listens there."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"

        assert stores.members.asked(stores.members.by_url(url)).status == "nonexistent"

        with pytest.raises(TimeoutError):
            listener.accept()
    assert stores.members.workers() == []
