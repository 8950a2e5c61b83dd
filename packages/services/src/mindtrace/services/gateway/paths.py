"""Which app a path belongs to, and what of the path goes to it."""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

_CONTROL = re.compile(rb"[\x00-\x20\x7f]")
_PARTS = re.compile(rb"[/\\]")


class BadPathError(ValueError):
    """Says what is wrong with a path."""


def split(raw: bytes, query: bytes) -> tuple[str, bytes]:
    """Return the name of the app that a path begins with, and the rest, with its slash.

    The rest is as it came, with the query: nothing is decoded, joined or left out.

    Raises:
        BadPathError: An app could take the path for one outside of its own, or for two requests.
    """
    if _CONTROL.search(raw) or _CONTROL.search(query):
        message = "the path has characters in it that have to be written with %"
        raise BadPathError(message)
    first, slash, rest = raw[1:].partition(b"/")
    if _climbs(rest):
        message = "the path has '..' in it, which leads out of the app"
        raise BadPathError(message)
    target = slash + rest + b"?" + query if query else slash + rest
    return unquote_to_bytes(first).decode("utf-8", "replace"), target


def _climbs(path: bytes) -> bool:
    """Tell whether a server could take a part of the path for `..`.

    Some decode before they split, some take a backslash for a slash, and some leave out what
    follows a semicolon; it is not known which of them the app is.
    """
    if b"." not in path and b"%" not in path:
        return False
    parts = _PARTS.split(unquote_to_bytes(path))
    return any(each.partition(b";")[0] == b".." for each in parts)
