"""Lets the tests of services, and the services that they launch, import the support module."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

sys.path.insert(0, str(Path(__file__).parent))

from services_support import EachService, launched


@pytest.fixture(scope="module")
def each() -> Iterator[Any]:
    """A running service that the tests of a module share."""
    with launched(EachService) as manager:
        yield manager
