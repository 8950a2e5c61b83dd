"""The OpenAPI page: it is true, it is valid, and it can be read without internet."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from services_support import EachService, Raw, launched

from mindtrace.services.samples.echo_service import EchoInput, EchoOutput, EchoService

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mindtrace.services import Service

SAMPLE = Path(__file__).parents[3] / "samples" / "services" / "state.py"
METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}


def openapi(service: type[Service]) -> dict[str, Any]:
    return service().app.openapi()


def test_the_page_lists_every_endpoint_with_its_models() -> None:
    found = openapi(EachService)
    service = EachService(version="2.0", summary="s", description="d").app.openapi()["info"]

    assert set(found["paths"]) == {each.path for each in EachService().table}
    for each in EachService().table:
        operations = found["paths"][each.path]
        assert set(operations) == {method.lower() for method in each.methods}
        first = operations[each.methods[0].lower()]
        assert first["operationId"] == each.name
    adding = found["paths"]["/add"]["post"]
    assert adding["description"] == "Add, in a thread."
    content = adding["requestBody"]["content"]["application/json"]
    assert content["schema"] == {"$ref": "#/components/schemas/Pair"}
    answer = adding["responses"]["200"]["content"]["application/json"]
    assert answer["schema"] == {"$ref": "#/components/schemas/Sum"}
    names = [each["name"] for each in found["paths"]["/find"]["get"]["parameters"]]
    assert names == ["word", "tags", "limit", "exact"]
    assert "security" not in found
    assert service == {"title": "EachService", "summary": "s", "description": "d", "version": "2.0"}


@pytest.mark.filterwarnings("error")
def test_the_page_is_valid_and_its_operations_have_different_names() -> None:
    jsonschema_rs = pytest.importorskip("jsonschema_rs")
    found = json.loads(json.dumps(openapi(EachService)))
    operations = [
        operation
        for path in found["paths"].values()
        for method, operation in path.items()
        if method in METHODS
    ]

    ids = [each["operationId"] for each in operations]
    assert len(set(ids)) == len(ids)
    assert found["openapi"].startswith("3.1")
    for schema in found["components"]["schemas"].values():
        jsonschema_rs.meta.validate(
            {"$schema": "https://json-schema.org/draft/2020-12/schema"} | schema
        )
    references = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(found)))
    assert references <= set(found["components"]["schemas"])


def test_endpoints_of_a_later_time_get_onto_the_page() -> None:
    service = EachService()
    before = service.app.openapi()["paths"]

    service.add_endpoint("/later", lambda: None)

    assert set(service.app.openapi()["paths"]) - set(before) == {"/later"}


# running services


class HastyEchoService(EchoService):
    """Does not wait, however long it is asked to."""

    def echo(self, payload: EchoInput) -> EchoOutput:
        return super().echo(payload.model_copy(update={"delay": 0.0}))


@pytest.fixture(scope="module")
def echo() -> Iterator[Any]:
    with launched(HastyEchoService) as manager:
        yield manager


@pytest.fixture(scope="module")
def counters() -> Iterator[Any]:
    if not SAMPLE.exists():
        pytest.skip("an installed wheel comes without the samples")
    spec = importlib.util.spec_from_file_location("counter_sample", SAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["counter_sample"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with launched(module.CounterService) as manager:
        yield manager


@pytest.mark.process
def test_the_page_is_shown_without_internet(echo: Any) -> None:
    with Raw(echo.url) as raw:
        page = raw.ask("GET /docs")
        text = page.body.decode()
        sources = re.findall(r'(?:src|href)="([^"]+)"', text)
        kinds = {
            source: raw.ask(f"GET {source}").headers["content-type"].partition(";")[0]
            for source in sources
        }
        known = json.loads(raw.ask("GET /openapi.json").body)

    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert not re.findall(r"""["'(]\s*(?:https?:)?//""", text)
    assert '"validatorUrl": null' in text
    assert "/openapi.json" in text
    assert sorted(kinds.values()) == ["image/png", "text/css", "text/javascript"]
    assert "/echo" in known["paths"]


PHASES = "examples,coverage,fuzzing,stateful"
CHECKS = ["--checks", "all", "--exclude-checks", "negative_data_rejection"]
"""All but one: Pydantic takes false for the number 0."""


def explore(url: str, count: int) -> str:
    """Let schemathesis try a service; return what it says, if it found something."""
    pytest.importorskip("schemathesis")
    # whoever calls /shutdown, the service is gone
    words = ["--exclude-path", "/shutdown", "--phases", PHASES, "--max-examples", str(count)]
    words += ["--generation-deterministic", "--no-color", *CHECKS]
    done = subprocess.run(
        [sys.executable, "-m", "schemathesis.cli", "run", f"{url}openapi.json", *words],
        capture_output=True,
        text=True,
        check=False,
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


@pytest.mark.process
@pytest.mark.parametrize("name", ["echo", "counters"])
def test_whatever_is_sent_the_answer_is_what_the_page_says(
    request: pytest.FixtureRequest, name: str
) -> None:
    manager = request.getfixturevalue(name)

    assert explore(str(manager.url), 10) == ""
    assert manager.status().status.value == "Available"


@pytest.mark.process
@pytest.mark.stress
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", ["echo", "counters"])
def test_whatever_is_sent_for_minutes_the_answer_is_what_the_page_says(
    request: pytest.FixtureRequest, name: str
) -> None:
    manager = request.getfixturevalue(name)

    # in one thread: Python 3.11 fails where several parse source code at once, as several would
    assert explore(str(manager.url), 2000) == ""
    assert manager.status().status.value == "Available"
