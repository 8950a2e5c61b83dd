"""Every form of the state keeps the same promises."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from uuid import uuid4

import pytest

from mindtrace.cluster.errors import StateUnavailableError
from mindtrace.cluster.ports.redis_state import RedisState
from mindtrace.cluster.ports.sqlite_state import SqliteState
from mindtrace.cluster.ports.state import StateStore, open_state


@pytest.fixture(params=["sqlite", pytest.param("redis", marks=pytest.mark.redis)])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[StateStore]]:
    """Two clients of the same store."""
    if request.param == "sqlite":
        stores: list[StateStore] = [SqliteState(tmp_path) for _ in range(2)]
        yield stores
    else:
        url, name = request.getfixturevalue("redis_server_url"), f"test-{uuid4().hex[:10]}"
        stores = [RedisState(url, name) for _ in range(2)]
        yield stores
        for kind in ("things", "others", "@jobs", "@numbers", "@number"):
            stores[0].clear(kind)
    for each in stores:
        each.close()


@pytest.fixture
def state(opened: list[StateStore]) -> StateStore:
    return opened[0]


def test_a_document_comes_out_as_it_went_in(state: StateStore) -> None:
    document = {"text": 'Ü "quoted" \n', "number": 1.5, "list": [1, None, {"a": True}]}
    state.put("things", "a/b: c", document)

    assert state.get("things", "a/b: c") == document
    assert state.all("things") == {"a/b: c": document}


def test_what_is_not_there_is_none(state: StateStore) -> None:
    assert state.get("things", "a") is None
    assert state.all("things") == {}
    assert state.remove("things", "a") is False


def test_a_document_replaces_the_one_before(state: StateStore) -> None:
    state.put("things", "a", {"n": 1})
    state.put("things", "a", {"n": 2})

    assert state.all("things") == {"a": {"n": 2}}


def test_many_documents_are_read_together(state: StateStore) -> None:
    for key in ("a", "b", 'c"d'):
        state.put("things", key, {"key": key})
    state.put("others", "e", {})

    found = state.get_many("things", ['c"d', "a", "e", "f"])

    assert found == {"a": {"key": "a"}, 'c"d': {"key": 'c"d'}}
    assert state.get_many("things", []) == {}


def test_kinds_are_apart(state: StateStore) -> None:
    state.put("things", "a", {"n": 1})
    state.put("others", "a", {"n": 2})
    state.clear("things")

    assert state.all("things") == {}
    assert state.all("others") == {"a": {"n": 2}}


def test_removing_tells_whether_there_was_one(state: StateStore) -> None:
    state.put("things", "a", {})

    assert state.remove("things", "a") is True
    assert state.remove("things", "a") is False


def test_documents_come_in_the_order_of_their_keys(state: StateStore) -> None:
    for key in ("b", "a", "c"):
        state.put("things", key, {})

    assert list(state.all("things")) == ["a", "b", "c"]


def test_another_client_sees_a_change_at_once(opened: list[StateStore]) -> None:
    one, other = opened
    one.put("things", "a", {"n": 1})
    one.index([("id", "type")], 1.0)

    assert other.get("things", "a") == {"n": 1}
    assert [each.job_id for each in other.indexed(0, 10)] == ["id"]


def test_the_index_keeps_the_order_of_submission(state: StateStore) -> None:
    state.index([("b", "x"), ("a", "y")], 1.0)
    state.index([("c", "x")], 2.0)

    found = state.indexed(0, 10)

    assert [each.job_id for each in found] == ["b", "a", "c"]
    assert [each.schema_name for each in found] == ["x", "y", "x"]
    assert [each.job_id for each in state.indexed(found[0].number, 1)] == ["a"]


def test_the_index_can_be_asked_for_one_type(state: StateStore) -> None:
    state.index([(str(number), "xy"[number % 2]) for number in range(10)], 1.0)

    assert [each.job_id for each in state.indexed(0, 3, "y")] == ["1", "3", "5"]


def test_a_job_that_is_indexed_again_stays_where_it_is(state: StateStore) -> None:
    state.index([("a", "x"), ("b", "x")], 1.0)
    state.index([("a", "x")], 2.0)

    assert [each.job_id for each in state.indexed(0, 10)] == ["a", "b"]


def test_the_number_of_a_job_is_known(state: StateStore) -> None:
    state.index([("a", "x"), ("b", "x")], 1.0)

    first, second = state.number_of("a"), state.number_of("b")
    assert first is not None
    assert second is not None
    assert first < second
    assert state.number_of("c") is None


def test_forgetting_removes_those_that_are_older(state: StateStore) -> None:
    state.index([("a", "x"), ("b", "x")], 1.0)
    state.index([("c", "x")], 5.0)

    assert state.forget(["c", "a", "unknown"], 3.0) == 1
    assert state.forget([], 3.0) == 0

    assert [(each.job_id, each.submitted_at) for each in state.indexed(0, 10)] == [
        ("b", 1.0),
        ("c", 5.0),
    ]
    assert state.number_of("a") is None
    state.index([("a", "x")], 6.0)
    assert [each.job_id for each in state.indexed(0, 10)] == ["b", "c", "a"]


def test_a_job_that_is_submitted_again_is_as_old_as_that(state: StateStore) -> None:
    """Its record may have come back after somebody found that there was none."""
    state.index([("a", "x"), ("b", "x")], 1.0)
    state.index([("a", "x")], 5.0)

    assert state.forget(["a", "b"], 3.0) == 1
    assert [each.job_id for each in state.indexed(0, 10)] == ["a"]


def test_many_jobs_are_forgotten(state: StateStore) -> None:
    state.index([(str(number), "x") for number in range(2500)], 1.0)

    assert state.forget([str(number) for number in range(2400)], 3.0) == 2400
    assert [each.job_id for each in state.indexed(0, 3)] == ["2400", "2401", "2402"]


def test_clearing_the_index_leaves_documents_alone(state: StateStore) -> None:
    state.put("things", "a", {})
    state.index([("a", "x")], 1.0)
    state.clear_index()

    assert state.indexed(0, 10) == []
    assert state.number_of("a") is None
    assert state.get("things", "a") == {}


def test_many_who_open_a_new_file_at_the_same_time_all_get_it(tmp_path: Path) -> None:
    """A file becomes one with a log of its own only once, and SQLite lets nobody wait for that."""
    for number in range(20):
        opened = [SqliteState(tmp_path / str(number)) for _ in range(8)]
        together = Barrier(len(opened))

        def put(state: SqliteState, key: str, together: Barrier = together) -> None:
            together.wait(10)
            state.put("things", key, {})

        with ThreadPoolExecutor(len(opened)) as pool:
            for each in [pool.submit(put, one, str(key)) for key, one in enumerate(opened)]:
                each.result()
        assert len(opened[0].all("things")) == len(opened)
        for one in opened:
            one.close()


def test_many_threads_write_at_the_same_time(opened: list[StateStore]) -> None:
    def write(number: int) -> None:
        for step in range(20):
            opened[number % 2].put("things", f"{number}-{step}", {"n": number})
            opened[number % 2].index([(f"{number}-{step}", "x")], 1.0)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    assert len(opened[0].all("things")) == 120
    assert len({each.number for each in opened[1].indexed(0, 1000)}) == 120


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    store = open_state(f"sqlite:///{tmp_path / 'file' / 'below'}")

    with pytest.raises(StateUnavailableError, match=r"file/below/state.sqlite cannot be used"):
        store.get("things", "a")


def test_a_redis_that_is_not_there_is_named() -> None:
    store = open_state("redis://user:secret@127.0.0.1:1/0")

    with pytest.raises(StateUnavailableError, match=r"127\.0\.0\.1:1 cannot be used") as caught:
        store.put("things", "a", {})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["mongodb://user:secret@host", "", "sqlite"])
def test_a_url_of_no_known_store_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(ValueError, match="no state store for the URL scheme") as caught:
        open_state(url)
    assert "secret" not in str(caught.value)
