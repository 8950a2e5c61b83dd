"""What is kept of the output of commands, and what is masked in it."""

from pathlib import Path

import pytest

from mindtrace.cluster.run_script.output import Excerpt, Masker, Output
from mindtrace.cluster.run_script.records import Records


def test_short_output_is_kept_whole() -> None:
    excerpt = Excerpt(100)
    for each in (b"one\n", b"two\n"):
        excerpt.add(each)
    assert excerpt.text() == "one\ntwo\n"


@pytest.mark.parametrize("piece", [1, 7, 1000, 5000])
def test_of_long_output_the_beginning_and_the_end_are_kept(piece: int) -> None:
    data = b"".join(b"%05d\n" % number for number in range(1000))
    excerpt = Excerpt(120)
    for begin in range(0, len(data), piece):
        excerpt.add(data[begin : begin + piece])
    head, tail = data[:30].decode(), data[-90:].decode()
    assert excerpt.text() == f"{head}\n... 5880 bytes left out ...\n{tail}"
    assert excerpt.text(40) == f"{head[:10]}\n... 5960 bytes left out ...\n{tail[-30:]}"
    assert excerpt.size == len(data)


def test_nothing_is_kept_where_nothing_is_to_be_shown() -> None:
    excerpt = Excerpt(0)
    excerpt.add(b"abc")
    assert excerpt.text() == "\n... 3 bytes left out ...\n"


@pytest.mark.parametrize("piece", [1, 2, 3, 5, 100])
def test_secrets_are_masked_wherever_the_pieces_end(piece: int) -> None:
    masker = Masker(["secret-1", "secret-12", "first line\nsecond line"])
    data = b"a secret-1 and secret-12, secret- alone; second line; secret-1"
    told = b"".join(masker.masked(data[i : i + piece]) for i in range(0, len(data), piece))
    # what may be the beginning of a longer one is not known yet
    assert told + masker.rest() == b"a *** and ***, secret- alone; ***; ***"


def test_what_is_no_beginning_of_a_secret_is_told_at_once() -> None:
    assert Masker(["secret"]).masked(b"step 1\n") == b"step 1\n"


def test_files_hold_everything_but_secrets(tmp_path: Path) -> None:
    with Output(tmp_path, ["hush-hush"], shown=8) as output:
        output.out.write(b"hush-hush is the word\n" * 10)
        output.err.write(b"hush-")
        assert (tmp_path / "stderr").read_bytes() == b""
    assert (tmp_path / "stdout").read_text() == "*** is the word\n" * 10
    assert (tmp_path / "stderr").read_text() == "hush-"
    assert (output.lines, output.size) == (10, 165)


def test_the_newest_records_are_kept(tmp_path: Path) -> None:
    records = Records(tmp_path, keep=2, size=100)
    made: list[Path] = []
    for number, size in enumerate((10, 10, 10, 95, 10)):
        with records.new(f"job{number}") as record:
            (record.folder / "stdout").write_bytes(b"x" * size)
            assert records.is_running(record.folder)
        made.append(record.folder)
        assert not records.is_running(record.folder)
    records.sweep()
    # the one of 95 bytes has no room beside the last
    assert [each.exists() for each in made] == [False, False, False, False, True]
    assert records.find("job4") == made[4]
    assert records.find("job3") is None
    assert records.find("../job4") is None
    assert [each.name for each in tmp_path.iterdir() if each.is_dir()] == [made[4].name]
    assert list(tmp_path.glob("*.lock")) == []


def test_a_record_that_is_written_is_not_removed(tmp_path: Path) -> None:
    records = Records(tmp_path, keep=0, size=100)
    with records.new("one") as first, records.new("two") as second:
        assert first.folder.exists()
        assert second.temporary.exists()
