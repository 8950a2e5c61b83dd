"""Importing is quiet and cheap; backends come on first use, from whatever package has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from jobs_support import run_python

import mindtrace.jobs
from mindtrace.jobs import backend_from_url, load_backend

if TYPE_CHECKING:
    from pathlib import Path

process = pytest.mark.process

LOADED = """
import sys
before = set(sys.modules)  # a measurement of coverage brings some of its own
import mindtrace.jobs
for name in ("redis", "pika", "fastapi", "sqlite3", "pydantic_settings", "mindtrace.jobs.local"):
    if name in sys.modules and name not in before:
        print(name)
"""

OPENED = """
import os, sys
import pydantic
root = os.environ["MINDTRACE_DIR_PATHS__ROOT"]
touched = []
def look(event, args):
    if args and isinstance(args[0], (str, bytes)) and os.fsdecode(args[0]).startswith(root):
        touched.append((event, args[0]))
sys.addaudithook(look)
import mindtrace.jobs
mindtrace.jobs.LocalClient
orchestrator = mindtrace.jobs.Orchestrator()
print(touched, os.path.exists(root))
orchestrator.declare_queue("tasks")
print(bool(touched), os.path.exists(root))
"""

LOGGING = """
import logging
before = list(logging.root.handlers), logging.root.level
import mindtrace.jobs
from mindtrace.jobs import LocalClient, Orchestrator, Job
orchestrator = Orchestrator(LocalClient.in_memory())
orchestrator.declare_queue("tasks")
orchestrator.publish("tasks", Job(name="any", payload={}))
print((list(logging.root.handlers), logging.root.level) == before)
ours = logging.getLogger("mindtrace")
print({type(each).__name__ for each in ours.handlers} <= {"NullHandler"}, ours.level)
"""


@process
def test_importing_loads_no_backend_and_no_slow_library() -> None:
    assert run_python(LOADED) == ""


@process
def test_nothing_is_opened_before_the_first_call(tmp_path: Path) -> None:
    root = tmp_path / "root"

    said = run_python(OPENED, MINDTRACE_DIR_PATHS__ROOT=root)

    assert said.splitlines() == ["[] False", "True True"]


@process
def test_logging_is_left_to_the_program() -> None:
    assert run_python(LOGGING).splitlines() == ["True", "True 0"]


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(mindtrace.jobs, "KafkaClient")
    with pytest.raises(AttributeError, match=r"module 'mindtrace.jobs' has no attribute 'Kafka"):
        _ = mindtrace.jobs.KafkaClient  # type: ignore[attr-defined]


def test_a_backend_that_is_not_installed_says_how_to_install_it() -> None:
    with pytest.raises(ImportError) as caught:
        load_backend("kafka", "KafkaClient")

    assert str(caught.value) == (
        "KafkaClient needs the 'kafka' backend, which is not installed. "
        "Install it with: pip install 'mindtrace-jobs[kafka]'"
    )


def test_without_a_name_that_was_wanted_the_backend_is_named() -> None:
    with pytest.raises(ImportError, match=r"'kafka' backend.*pip install"):
        load_backend("kafka")


def test_the_local_backend_is_always_there() -> None:
    assert load_backend("local") is mindtrace.jobs.LocalClient


def test_a_scheme_that_nobody_knows_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'kafka'.*known: .*amqp://.*memory://.*sqlite://"):
        backend_from_url("kafka://host")


BACKEND = """
import sys
print("loaded", file=sys.stderr)
from mindtrace.jobs import LocalClient, ConsumerBackend

class PlanetConsumerBackend(ConsumerBackend):
    pass

class PlanetClient(LocalClient):
    consumer_backend_class = PlanetConsumerBackend

    @classmethod
    def from_url(cls, url):
        client = cls.in_memory()
        client.url = url
        return client
"""


@pytest.fixture
def planet(tmp_path: Path) -> Path:
    """A folder with an installed distribution that brings two backends."""
    (tmp_path / "planet_backend.py").write_text(BACKEND)
    information = tmp_path / "planet_backend-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: planet-backend\nVersion: 1\n"
    )
    (information / "entry_points.txt").write_text(
        "[mindtrace.jobs.backends]\n"
        "planet = planet_backend:PlanetClient\n"
        "redis = planet_backend:PlanetClient\n"
    )
    return tmp_path


@process
def test_a_backend_of_another_package_is_loaded_when_it_is_asked_for(planet: Path) -> None:
    code = """
import sys
import mindtrace.jobs as jobs
def loaded(): return "planet_backend" in sys.modules
said = [loaded()]
try:
    jobs.backend_from_url("neptune://x")
except ValueError as error:
    said += ["planet://" in str(error), loaded()]
client = jobs.backend_from_url("planet://host/1")
said += [type(client).__name__, client.url, loaded()]
consumer = jobs.Consumer()
consumer.connect_to_orchestrator(jobs.Orchestrator(client), "tasks")
said.append(type(consumer.consumer_backend).__name__)
print(*said)
"""

    said = run_python(code, PYTHONPATH=planet)

    assert said == "False True False PlanetClient planet://host/1 True PlanetConsumerBackend"


@process
def test_the_redis_names_come_from_whoever_brings_that_backend(planet: Path) -> None:
    code = """
import sys
import mindtrace.jobs as jobs
before = "planet_backend" in sys.modules
from mindtrace.jobs import RedisClient, RedisConsumerBackend
print(before, RedisClient.__name__, RedisConsumerBackend.__name__, jobs.RedisClient is RedisClient)
"""

    said = run_python(code, PYTHONPATH=planet)

    assert said == "False PlanetClient PlanetConsumerBackend True"


@process
def test_backend_arguments_name_such_a_backend_too(planet: Path) -> None:
    code = """
from mindtrace.jobs.loading import backend_from_args
client = backend_from_args({"backend": "planet", "kwargs": {"client_dir": "/tmp"}})
print(type(client).__name__, client.client_dir)
"""

    assert run_python(code, PYTHONPATH=planet) == "PlanetClient /tmp"


@process
def test_nothing_warns_on_the_way() -> None:
    code = (
        "import mindtrace.jobs, mindtrace.jobs.local, mindtrace.jobs.mindtrace.types; print('ok')"
    )

    assert run_python(code) == "ok"
