"""One SQLite database: opening, migrating, refusing what is not ours, translating errors."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import threading
from typing import TYPE_CHECKING

import pytest
from jobs_support import run_python, start_python

from mindtrace.jobs import (
    BackendUnavailableError,
    Job,
    LocalClient,
    Orchestrator,
    QueueNotFoundError,
)
from mindtrace.jobs.backend import Entry, QueueSpec
from mindtrace.jobs.local import opening
from mindtrace.jobs.local.database import Database
from mindtrace.jobs.local.opening import APPLICATION_ID, FILE_NAME, SCHEMA_VERSION
from mindtrace.jobs.local.store import LocalStore
from mindtrace.jobs.testing.waiting import Background

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mindtrace.jobs.local.transitions import QueueRow


@pytest.fixture
def database(folder: Path) -> Iterator[Database]:
    database = Database(folder, "normal")
    yield database
    database.close()


def count(database: Database) -> int:
    with database.reading() as connection:
        return int(connection.execute("select count(*) from queues").fetchone()[0])


def insert(connection: sqlite3.Connection, name: str) -> None:
    connection.execute("insert into queues (name, type, options) values (?, 'fifo', '{}')", (name,))


def prepared(folder: Path, *statements: str) -> Database:
    """Return a database whose file was made by somebody else."""
    folder.mkdir(exist_ok=True)
    connection = sqlite3.connect(folder / FILE_NAME)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()
    return Database(folder, "normal")


class TestOpening:
    def test_a_new_file_gets_the_schema_and_its_version(self, database: Database) -> None:
        with database.reading() as connection:
            (version,) = connection.execute("pragma user_version").fetchone()

        assert version == SCHEMA_VERSION

    def test_an_existing_file_is_opened_as_it_is(self, database: Database, folder: Path) -> None:
        with database.writing() as connection:
            insert(connection, "tasks")

        again = Database(folder, "normal")

        assert count(again) == 1
        again.close()

    def test_a_file_of_a_newer_release_is_refused_and_left_alone(self, folder: Path) -> None:
        database = prepared(
            folder,
            f"pragma application_id = {APPLICATION_ID}",
            f"pragma user_version = {SCHEMA_VERSION + 1}",
        )

        with pytest.raises(BackendUnavailableError, match=r"newer release.*upgrade") as caught:
            database.ensure_open()

        assert caught.value.transient is False
        with sqlite3.connect(folder / FILE_NAME) as connection:
            assert connection.execute("select count(*) from sqlite_schema").fetchone() == (0,)
        connection.close()

    def test_a_file_of_another_program_is_refused_and_left_alone(self, folder: Path) -> None:
        database = prepared(folder, "create table jobs (whatever text)")

        with pytest.raises(BackendUnavailableError, match="another program"):
            database.ensure_open()

        with sqlite3.connect(folder / FILE_NAME) as connection:
            names = connection.execute("select name from sqlite_schema").fetchall()
        connection.close()
        assert names == [("jobs",)]

    def test_a_file_that_has_half_of_our_names_is_left_as_it_was(self, folder: Path) -> None:
        database = prepared(folder, "create table queues (whatever text)")

        with pytest.raises(BackendUnavailableError):
            database.ensure_open()

        with sqlite3.connect(folder / FILE_NAME) as connection:
            names = connection.execute("select name from sqlite_schema").fetchall()
        connection.close()
        assert names == [("queues",)]

    def test_a_file_that_is_no_database_is_refused(self, folder: Path) -> None:
        folder.mkdir()
        (folder / FILE_NAME).write_text("this is a poem, and a rather long one " * 100)

        with pytest.raises(BackendUnavailableError, match="not a SQLite database") as caught:
            Database(folder, "normal").ensure_open()

        assert caught.value.transient is False
        assert caught.value.address == str(folder / FILE_NAME)

    def test_a_damaged_file_says_how_to_recover(self, folder: Path) -> None:
        with LocalClient(folder) as client:
            client.declare_queue("tasks")
            client.publish("tasks", Job(name="any", payload="x" * 100_000))
        path = folder / FILE_NAME
        content = bytearray(path.read_bytes())
        content[2048:] = b"\xff" * (len(content) - 2048)
        path.write_bytes(content)

        with pytest.raises(BackendUnavailableError, match=r"damaged.*recover"):
            LocalClient(folder).store.queues()

    def test_a_folder_that_may_not_be_written_is_named(self, folder: Path) -> None:
        folder.mkdir()
        (folder / "open.lock").mkdir()

        with pytest.raises(BackendUnavailableError, match=r"open.lock.*writable"):
            Database(folder, "normal").ensure_open()

    @pytest.mark.process
    def test_many_processes_open_a_new_file_at_once(self, folder: Path) -> None:
        code = (
            "import sys\n"
            "from mindtrace.jobs import Job, LocalClient, Orchestrator\n"
            "orchestrator = Orchestrator(LocalClient(sys.argv[1]))\n"
            "orchestrator.declare_queue('tasks')\n"
            "orchestrator.publish('tasks', Job(name='any', payload={}))\n"
        )
        children = [start_python(code, folder) for _ in range(4)]

        errors = [child.communicate(timeout=60)[1] for child in children]

        assert errors == [""] * 4
        with LocalClient(folder) as client:
            assert client.count_queue_messages("tasks") == 4


class TestTransactions:
    def test_a_block_that_raises_changes_nothing(self, database: Database) -> None:
        with pytest.raises(LookupError), database.writing() as connection:  # noqa: PT012
            insert(connection, "tasks")
            raise LookupError

        assert count(database) == 0

    def test_a_block_that_broke_its_own_transaction_is_left_alone(self, database: Database) -> None:
        with pytest.raises(BackendUnavailableError), database.writing() as connection:  # noqa: PT012
            insert(connection, "tasks")
            connection.execute("rollback")

        assert count(database) == 0

    def test_a_reading_block_sees_one_moment(self, database: Database, folder: Path) -> None:
        another = Database(folder, "normal")
        with database.reading() as connection:
            before = connection.execute("select count(*) from queues").fetchone()
            with another.writing() as writer:
                insert(writer, "tasks")
            after = connection.execute("select count(*) from queues").fetchone()
        another.close()

        assert before == after == (0,)
        assert count(database) == 1

    def test_a_reading_block_that_ended_its_transaction_is_fine(self, database: Database) -> None:
        with database.reading() as connection:
            connection.execute("rollback")

        assert count(database) == 0

    def test_an_error_of_sqlite_is_ours_with_its_cause(self, database: Database) -> None:
        with (
            pytest.raises(BackendUnavailableError, match="SQLite says: no such table") as caught,
            database.reading() as connection,
        ):
            connection.execute("select * from nobody")

        assert isinstance(caught.value.__cause__, sqlite3.Error)

    @pytest.mark.parametrize(
        ("code", "words", "transient"),
        [
            (sqlite3.SQLITE_FULL, "disk is full", True),
            (sqlite3.SQLITE_IOERR, "check the disk", True),
            (sqlite3.SQLITE_IOERR_FSYNC, "check the disk", True),
            (sqlite3.SQLITE_BUSY, "kept it locked", True),
            (sqlite3.SQLITE_BUSY_SNAPSHOT, "kept it locked", True),
            (sqlite3.SQLITE_READONLY, "read-only", False),
            (sqlite3.SQLITE_PERM, "permission", False),
            (sqlite3.SQLITE_CANTOPEN, "cannot be opened", False),
            (sqlite3.SQLITE_NOTADB, "not a SQLite database", False),
            (sqlite3.SQLITE_CORRUPT, "damaged", False),
            (sqlite3.SQLITE_CONSTRAINT, "SQLite says: odd", False),
        ],
    )
    def test_each_of_sqlites_codes_has_its_advice(
        self, database: Database, code: int, words: str, transient: bool
    ) -> None:
        error = sqlite3.OperationalError("odd")
        database.ensure_open()
        error.sqlite_errorcode = code  # type: ignore[misc] # pyright: ignore[reportAttributeAccessIssue]

        ours = database.translated(error)

        assert words in str(ours)
        assert ours.transient is transient

    def test_a_folder_that_is_gone_is_still_our_error(
        self, database: Database, folder: Path
    ) -> None:
        database.ensure_open()
        shutil.rmtree(folder)
        error = sqlite3.OperationalError("odd")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR  # type: ignore[misc] # pyright: ignore[reportAttributeAccessIssue]

        assert "check the disk" in str(database.translated(error))

    def test_an_error_of_reading_on_a_full_disk_is_called_that(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        database.ensure_open()
        monkeypatch.setattr("mindtrace.jobs.local.database.SPARE_BYTES", 1 << 62)
        error = sqlite3.OperationalError("odd")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR  # type: ignore[misc] # pyright: ignore[reportAttributeAccessIssue]

        assert "disk is full" in str(database.translated(error))

    def test_threads_take_turns(self, database: Database) -> None:
        def write() -> None:
            for _ in range(20):
                with database.writing() as connection:
                    insert(connection, f"{threading.get_ident()}-{os.urandom(8).hex()}")

        for thread in [Background(write) for _ in range(4)]:
            thread.result()

        assert count(database) == 80


@pytest.mark.process
class TestForking:
    def test_a_child_has_a_connection_of_its_own(self, folder: Path) -> None:
        code = """
import os, sys
from pathlib import Path
from mindtrace.jobs.local.database import Database
database = Database(Path(sys.argv[1]), "normal")
with database.lock:
    mine = database.connection
    child = os.fork()
    if child == 0:
        with database.writing() as connection:
            connection.execute("insert into queues values (1, 'a', 'fifo', '{}')")
        os._exit(0 if connection is not mine else 1)
_, status = os.waitpid(child, 0)
with database.reading() as connection:
    print(status, connection.execute("select count(*) from queues").fetchone())
database.close()
"""

        assert run_python(code, folder) == "0 (1,)"


def test_a_folder_in_use_survives_the_end_of_one_client(folder: Path) -> None:
    with LocalClient(folder) as one:
        one.declare_queue("tasks")
        with LocalClient(folder) as two:
            Orchestrator(two).publish("tasks", Job(name="any", payload={}))

        assert one.count_queue_messages("tasks") == 1


class TestStore:
    def test_a_publish_that_sqlite_refuses_is_our_error(self, folder: Path) -> None:
        with LocalClient(folder) as client:
            client.declare_queue("tasks")
            client.publish("tasks", Job(name="any", payload={}))
            with client.store.database.writing() as connection:
                connection.execute("alter table jobs rename to away")

            with pytest.raises(BackendUnavailableError, match="SQLite says"):
                client.publish("tasks", Job(name="any", payload={}))

    def test_a_queue_deleted_between_a_look_and_the_publish_takes_nothing(self) -> None:
        class Racing(LocalStore):
            """Loses the queue to somebody else right after it was looked up."""

            def row(self, name: str, *, fresh: bool = False) -> QueueRow:
                found = super().row(name, fresh=fresh)
                if fresh:
                    with self.database.writing() as connection:
                        connection.execute("delete from queues")
                return found

        store = Racing(None)
        store.declare_queue(QueueSpec("tasks"))

        with pytest.raises(QueueNotFoundError, match="'tasks'"):
            store.publish("tasks", [Entry("one", "{}"), Entry("two", "{}")])

        store.close()


class TestFaultsOfOpening:
    def test_a_full_disk_is_told_as_one_that_may_get_better(self, folder: Path) -> None:
        error = OSError(errno.ENOSPC, "No space left on device", str(folder))

        ours = opening._refused(folder, "here", error)  # pyright: ignore[reportPrivateUsage]

        assert "free some space" in str(ours)
        assert ours.transient is True

    def test_a_schema_that_cannot_be_made_is_not_half_made(self) -> None:
        connection = sqlite3.connect(":memory:")
        connection.execute("create table dedup (x)")

        with pytest.raises(sqlite3.Error):
            opening._create(connection)  # pyright: ignore[reportPrivateUsage]

        names = connection.execute("select name from sqlite_schema").fetchall()
        connection.close()
        assert names == [("dedup",)]
