"""The Lua files: each says what it does, takes what it needs, and is there when installed."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import pytest

from mindtrace.jobs_redis.scripts import script

FOLDER = Path(str(files("mindtrace.jobs_redis").joinpath("lua")))
NAMES = sorted(each.stem for each in FOLDER.glob("*.lua"))
INCLUDES = sorted(each.stem for each in FOLDER.glob("include/*.lua"))

READING = {
    "cancelled",
    "dead_letters",
    "fetch",
    "queues",
    "records",
    "stats",
    "survey",
}
ADDING = {"publish", "publish_one", "publish_checked", "bring_in"}
"""What the server may refuse for want of memory."""

WRITES = re.compile(r"call\(\s*'(HSET|HDEL|ZADD|ZREM|ZPOP\w+|INCR\w*|RPUSH|EXPIRE|SADD|SET|DEL)'")


def flags_of(name: str) -> str:
    first = script(name).text.splitlines()[0]
    assert first.startswith("#!lua")
    return first.removeprefix("#!lua").strip()


def test_there_are_scripts() -> None:
    assert {"publish", "receive", "settle", "stats"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_script_begins_with_what_it_does_takes_and_returns(name: str) -> None:
    lines = script(name).text.splitlines()
    header = "\n".join(line for line in lines[1:40] if line.startswith("--"))

    assert re.match(r"-- [A-Z].*", lines[1])
    assert "KEYS[1]  the namespace" in header
    assert "ARGV[1]  seconds added to the server's time" in header
    assert "\n-- Returns  " in header


@pytest.mark.parametrize("name", NAMES)
def test_each_include_is_there_once(name: str) -> None:
    text = script(name).text

    assert "@include" not in text
    assert text.count("local base = KEYS[1]") <= 1
    assert text.count("local function queue_named") <= 1


@pytest.mark.parametrize("name", INCLUDES)
def test_each_include_is_used(name: str) -> None:
    users = [each for each in FOLDER.rglob("*.lua") if f"--- @include {name}\n" in each.read_text()]

    assert users


@pytest.mark.parametrize("name", NAMES)
def test_only_adding_may_be_refused_for_memory_and_reading_writes_nothing(name: str) -> None:
    wanted = "flags=no-writes" if name in READING else "" if name in ADDING else "flags=allow-oom"

    assert flags_of(name) == wanted
    if name in READING:
        assert WRITES.findall(script(name).text) == []


def test_a_script_has_the_hash_by_which_servers_know_it() -> None:
    assert re.fullmatch(r"[0-9a-f]{40}", script("publish").sha)
    assert script("publish") is script("publish")


def test_a_file_that_is_not_there_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        script("nothing")
