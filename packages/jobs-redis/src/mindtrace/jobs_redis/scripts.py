"""The Lua files of this package as scripts: one file for each transition, with shared includes.

A line `--- @include name` is replaced by `lua/include/name.lua`; each comes in once, at the first
line that asks for it, so that a file needs no knowledge of what its includes include.
"""

from __future__ import annotations

import re
from functools import cache
from hashlib import sha1
from importlib.resources import files
from typing import NamedTuple

_DIRECTIVE = re.compile(r"^--- @include (\w+)\n", re.MULTILINE)


class Script(NamedTuple):
    """A script as the server knows it."""

    name: str
    text: str
    sha: str


@cache
def script(name: str) -> Script:
    """Return the script of a Lua file, its includes resolved."""
    text = _resolved(_read(f"{name}.lua"), set())
    return Script(name, text, sha1(text.encode(), usedforsecurity=False).hexdigest())


def _read(path: str) -> str:
    return files("mindtrace.jobs_redis").joinpath("lua", *path.split("/")).read_text("utf-8")


def _resolved(text: str, seen: set[str]) -> str:
    def include(found: re.Match[str]) -> str:
        name = found[1]
        if name in seen:
            return ""
        seen.add(name)
        return _resolved(_read(f"include/{name}.lua"), seen)

    return _DIRECTIVE.sub(include, text)
