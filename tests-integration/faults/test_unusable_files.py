"""A folder or file that cannot be used: one clear sentence, and nothing in it is touched."""

import os
import random
import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from mounts import SmallDisk

from mindtrace.jobs import BackendUnavailableError, Consumer, Job, LocalClient, Orchestrator

PAGE = 4096
SENTENCE = re.compile(r"The local backend at \S.* cannot be used: [^\n]+\.")


@pytest.fixture
def used(tmp_path: Path) -> Path:
    """A folder with a database of some fifty pages, and nobody who has it open."""
    folder = tmp_path / "used"
    orchestrator = Orchestrator(LocalClient(folder))
    orchestrator.declare_queue("work")
    jobs = [Job(name="work", payload="x" * 1000) for _ in range(200)]
    orchestrator.publish_many("work", jobs)
    orchestrator.close()
    assert not (folder / "jobs.db-wal").exists()
    return folder


def fill_with_noise(file: Path) -> None:
    file.write_bytes(random.Random(1).randbytes(40 * PAGE))


def cut_in_half(file: Path) -> None:
    os.truncate(file, file.stat().st_size // PAGE // 2 * PAGE)


def cut_within_a_page(file: Path) -> None:
    os.truncate(file, PAGE + 100)


def damage_all_but_the_first_page(file: Path) -> None:
    size = file.stat().st_size
    with file.open("r+b") as target:
        target.seek(PAGE)
        target.write(random.Random(2).randbytes(size - PAGE))


def use_everything(folder: Path) -> None:
    """Publish, look and consume, as a program would; the first error ends it."""
    orchestrator = Orchestrator(LocalClient(folder))

    class Nothing(Consumer):
        def run(self, job_dict: object) -> None: ...

    try:
        orchestrator.declare_queue("work")
        orchestrator.publish("work", Job(name="work", payload="y"))
        consumer = Nothing()
        consumer.connect(orchestrator, "work")
        consumer.consume_until_empty()
    finally:
        orchestrator.close()


def the_error_of(folder: Path) -> BackendUnavailableError:
    with pytest.raises(BackendUnavailableError) as caught:
        use_everything(folder)
    assert SENTENCE.fullmatch(str(caught.value)), str(caught.value)
    assert str(caught.value).count("cannot be used") == 1, str(caught.value)
    assert not caught.value.transient, "trying again does not help"
    return caught.value


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (fill_with_noise, "not a SQLite database"),
        (cut_in_half, "damaged"),
        (cut_within_a_page, "damaged"),
        (damage_all_but_the_first_page, "damaged"),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_a_damaged_file_is_one_clear_sentence_and_stays_as_it_is(
    used: Path, damage: Callable[[Path], None], words: str
) -> None:
    file = used / "jobs.db"
    damage(file)
    before = file.read_bytes()

    error = the_error_of(used)

    assert words in str(error)
    assert str(file) in str(error)
    assert file.read_bytes() == before


def test_a_file_of_a_newer_release_is_not_touched(used: Path) -> None:
    with closing(sqlite3.connect(used / "jobs.db")) as connection:
        connection.execute("pragma journal_mode = delete")
        connection.execute("pragma user_version = 99")
    before = (used / "jobs.db").read_bytes()

    error = the_error_of(used)

    assert "newer release" in str(error)
    assert "upgrade" in str(error)
    assert (used / "jobs.db").read_bytes() == before


@pytest.mark.parametrize("table", ["jobs", "songs"])
@pytest.mark.parametrize("version", [0, 1])
def test_another_programs_database_is_not_touched(tmp_path: Path, table: str, version: int) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir(mode=0o700)
    with closing(sqlite3.connect(folder / "jobs.db")) as connection:
        connection.execute(f"create table {table} (title text)")
        connection.execute(f"insert into {table} values ('theirs')")
        connection.execute(f"pragma user_version = {version}")
        connection.commit()
    before = (folder / "jobs.db").read_bytes()

    error = the_error_of(folder)

    assert "another program" in str(error)
    assert (folder / "jobs.db").read_bytes() == before


@pytest.mark.parametrize("below", ["", "deeper/down"])
def test_a_folder_that_is_a_file_is_not_touched(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("mine")

    error = the_error_of(tmp_path / "file" / below)

    assert re.search("not a directory|not a folder|is a file", str(error), re.IGNORECASE)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("empty", [True, False])
def test_a_read_only_disk_is_one_clear_sentence(
    small_disk: SmallDisk, used: Path, empty: bool
) -> None:
    folder = small_disk.path / "jobs"
    if not empty:
        shutil.copytree(used, folder)
    small_disk.make_read_only()
    listed = sorted(small_disk.path.rglob("*"))

    error = the_error_of(folder)

    assert re.search("read-only", str(error), re.IGNORECASE)
    assert sorted(small_disk.path.rglob("*")) == listed


def test_a_folder_that_is_not_ours_is_one_clear_sentence(used: Path, tmp_path: Path) -> None:
    """As a user without rights: root may do everything, so root becomes nobody for a moment."""
    root = os.getuid() == 0
    if root:
        for each in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
            each.chmod(0o755)
        os.seteuid(65534)
    else:
        used.chmod(0o500)
    try:
        error = the_error_of(used)
    finally:
        if root:
            os.seteuid(0)
        else:
            used.chmod(0o700)

    assert re.search("permission", str(error), re.IGNORECASE)
