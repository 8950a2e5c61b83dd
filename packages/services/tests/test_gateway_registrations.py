from __future__ import annotations

import json
import pickle
import stat
import threading
from pathlib import Path
from typing import Any

import pytest
from fastapi import HTTPException
from gateway_support import OddApp, ask, free_port
from services_support import DEADLINE, environment, eventually, launched

from mindtrace.services import Gateway, RequestInvalidError, ServiceError, ServiceLaunchError
from mindtrace.services.gateway.errors import RegistrationsError
from mindtrace.services.gateway.store import FileStore
from mindtrace.services.gateway.types import AppConfig

pytestmark = pytest.mark.process


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MINDTRACE_DIR_PATHS__ROOT", str(tmp_path))
    return tmp_path


def file_at(root: Path, port: int) -> Path:
    return root / "gateways" / f"localhost_{port}.json"


def test_a_gateway_that_is_started_again_has_its_apps(root: Path) -> None:
    with OddApp() as app:
        with launched(Gateway, port=free_port()) as gateway:
            port = gateway.url.port
            gateway.register_app("odd", f"{app.url}/v1", forward_auth=True)
            gateway.register_app("other", app.url)
            gateway.unregister_app("other")
            gateway.shutdown()

        with launched(Gateway, port=port) as gateway:
            assert gateway.list_apps() == ["odd"]
            assert gateway.registered_apps == []
            ask(gateway.url, "GET", "/odd/reflect", headers={"Authorization": "Basic x"})

        assert app.last().target == "/v1/reflect"
        assert app.last().one("authorization") == "Basic x"


def test_a_gateway_that_is_killed_and_started_again_has_its_apps(root: Path) -> None:
    with OddApp() as app:
        with launched(Gateway) as gateway:  # on a port that is known only afterwards
            port = gateway.url.port
            gateway.register_app("odd", app.url)
            gateway._child.process.kill()
            gateway._child.process.wait()

        with launched(Gateway, port=port) as gateway:
            assert ask(gateway.url, "GET", "/odd/reflect")[0] == 200


def test_an_app_that_is_killed_and_started_again_is_found_again() -> None:
    with launched(Gateway) as gateway:
        with OddApp() as app:
            gateway.register_app("odd", app.url)
            assert ask(gateway.url, "GET", "/odd/reflect")[0] == 200
        assert ask(gateway.url, "GET", "/odd/reflect")[0] == 502
        with OddApp(app.port):
            assert ask(gateway.url, "GET", "/odd/reflect")[0] == 200


@pytest.mark.parametrize(
    "old", ['{"owner": "x", "apps": [{"name": "old", "url": "http://127.0.0.1:9"}]}', "{"]
)
def test_a_gateway_on_any_port_does_not_inherit_what_another_one_left_there(
    root: Path, old: str
) -> None:
    class Lucky(Gateway):
        """Gets, of all free ports, the one where another gateway was."""

        def app_store(self) -> FileStore:
            """Return the place of that one."""
            return FileStore(self.config.dir_paths.root / "gateways" / "left.json")

    left = root / "gateways" / "left.json"
    left.parent.mkdir()
    left.write_text(old)

    with launched(Lucky) as gateway:
        assert gateway.list_apps() == []
        gateway.register_app("new", "http://127.0.0.1:9")

    assert [each["name"] for each in json.loads(left.read_text())["apps"]] == ["new"]


def test_an_endpoint_that_is_added_later_is_the_gateways_own_as_well() -> None:
    gateway = GatewayWithMore(port=free_port())
    assert not gateway.limits_body("/news/x")

    gateway.add_endpoint("/news", gateway.jobs)

    assert gateway.limits_body("/news/x")
    with pytest.raises(HTTPException):
        gateway.register_app(AppConfig(name="news", url="http://127.0.0.1:9"))
    with pytest.raises(ValueError, match="every client of a gateway"):
        gateway.add_endpoint("/list_apps", gateway.jobs)


def test_nobody_else_may_read_the_registrations(root: Path) -> None:
    with launched(Gateway) as gateway:
        gateway.register_app("odd", "http://127.0.0.1:9")
        path = file_at(root, gateway.url.port)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert {each.name for each in path.parent.iterdir()} == {path.name, f"{path.stem}.lock"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "Invalid JSON"),
        (b'{"apps": [{"name": "odd", "ur', "Invalid JSON"),
        (b'{"apps": [{"name": "odd", "url": "ftp://secret-host/"}]}', "apps.0.url"),
        (b"[]", "should be an object"),
        (b"\xff\xfe", "Invalid JSON"),
    ],
)
def test_a_gateway_whose_registrations_are_corrupt_says_so_and_does_not_start(
    root: Path, content: bytes, said: str
) -> None:
    port = free_port()
    path = file_at(root, port)
    path.parent.mkdir()
    path.write_bytes(content)

    with pytest.raises(ServiceLaunchError) as caught:
        Gateway.launch(port=port, progress_bar=False)

    assert f"RegistrationsError in startup(): {path} does not hold" in caught.value.problem
    assert said in caught.value.problem
    assert "delete it to start without apps" in caught.value.problem
    assert "secret-host" not in str(caught.value)
    assert path.read_bytes() == content


def test_registrations_that_become_corrupt_leave_the_apps_as_they_were(root: Path) -> None:
    with OddApp() as app, launched(Gateway) as gateway:
        gateway.register_app("odd", app.url)
        path = file_at(root, gateway.url.port)
        path.write_text("{")

        assert ask(gateway.url, "GET", "/odd/reflect")[0] == 200
        with pytest.raises(ServiceError, match="RegistrationsError"):
            gateway.register_app("other", app.url)
        path.unlink()
        gateway.register_app("other", app.url)
        assert gateway.list_apps() == ["odd", "other"]


def test_all_processes_of_a_gateway_know_the_same_apps() -> None:
    with OddApp() as app, launched(Gateway, num_workers=2) as gateway:
        for turn in range(4):
            gateway.register_app(f"odd{turn}", app.url)
            # each on a connection of its own, so that both processes are asked
            found = {ask(gateway.url, "GET", f"/odd{turn}/reflect")[0] for _ in range(10)}
            assert found == {200}
        gateway.unregister_app("odd0")
        assert {ask(gateway.url, "GET", "/odd0/x")[0] for _ in range(10)} == {404}


def test_many_who_register_at_the_same_time_lose_nothing(root: Path) -> None:
    path = root / "apps.json"
    names = [f"app{number}" for number in range(40)]

    def register(some: list[str]) -> None:
        store = FileStore(path)
        for name in some:
            store.put(AppConfig(name=name, url="http://127.0.0.1:9"))

    threads = [threading.Thread(target=register, args=(names[each::4],)) for each in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)

    assert sorted(each.name for each in FileStore(path).read()) == sorted(names)


def test_registering_again_replaces() -> None:
    with OddApp() as first, OddApp() as second, launched(Gateway) as gateway:
        gateway.register_app("odd", first.url)
        assert ask(gateway.url, "GET", "/odd/reflect")[0] == 200
        gateway.register_app("odd", f"{second.url}/new")
        assert ask(gateway.url, "GET", "/odd/reflect")[0] == 200

        assert gateway.list_apps() == ["odd"]
        assert [each.target for each in first.asked] == ["/reflect"]
        assert [each.target for each in second.asked] == ["/new/reflect"]


def test_what_is_under_way_is_finished_when_its_app_is_unregistered() -> None:
    with OddApp() as app, launched(Gateway) as gateway:
        gateway.register_app("odd", app.url)
        answers: list[Any] = []
        caller = threading.Thread(
            target=lambda: answers.append(ask(gateway.url, "GET", "/odd/events"))
        )
        caller.start()
        eventually(lambda: app.asked)
        gateway.unregister_app("odd")
        app.go.set()
        caller.join(DEADLINE)

        assert answers[0][2] == b"data: one\n\ndata: two\n\n"
        assert ask(gateway.url, "GET", "/odd/events")[0] == 404


OWN = ["docs", "openapi.json", "static-offline-docs", "status", "shutdown", "register_app", "jobs"]


def test_an_app_may_not_shadow_what_the_gateway_has_itself() -> None:
    with launched(GatewayWithMore) as gateway:
        for name in OWN:
            with pytest.raises(RequestInvalidError) as caught:
                gateway.register_app(name, "http://127.0.0.1:9")
            assert caught.value.details[0]["loc"] == ["body", "name"]
            assert f"the gateway itself has something at /{name}" in str(caught.value)
        assert gateway.list_apps() == []


class GatewayWithMore(Gateway):
    """A gateway with endpoints of its own, as a cluster's manager is."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_endpoint("/jobs/list", self.jobs)

    def jobs(self) -> dict[str, list[str]]:
        """Return all jobs."""
        return {"jobs": ["one"]}


def test_an_endpoint_that_is_new_wins_over_an_app_that_was_there_before(root: Path) -> None:
    with OddApp() as app, launched(Gateway, port=free_port()) as gateway:
        port = gateway.url.port
        gateway.register_app("jobs", app.url)
        gateway.shutdown()
        with launched(GatewayWithMore, port=port) as later:
            assert later.jobs_list() == {"jobs": ["one"]}
            assert app.asked == []


@pytest.mark.parametrize(
    ("name", "url", "said"),
    [
        ("", "http://h", "name"),
        ("a/b", "http://h", "name"),
        ("..", "http://h", "name"),
        ("a b", "http://h", "name"),
        ("é", "http://h", "name"),
        ("a" * 64, "http://h", "name"),
        ("a\n", "http://h", "name"),
        ("a", "ftp://h", "url"),
        ("a", "file:///etc/passwd", "url"),
        ("a", "h:80", "url"),
        ("a", "http://", "url"),
        ("a", "http://user:pass@h", "url"),
        ("a", "http://h?x=1", "url"),
        ("a", "http://h#x", "url"),
        ("a", "http://h:99999", "url"),
    ],
)
def test_a_registration_that_cannot_be_meant_is_invalid(name: str, url: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        AppConfig(name=name, url=url)


def test_unregistering_nobody_says_so() -> None:
    with launched(Gateway) as gateway, pytest.raises(ServiceError) as caught:
        gateway.unregister_app("nobody")

    assert (caught.value.status, caught.value.remote_type) == (404, "NotFound")


def test_the_error_of_a_corrupt_file_survives_being_pickled() -> None:
    error = RegistrationsError(Path("/x.json"), "broken")

    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_settings_say_where_registrations_are(tmp_path: Path) -> None:
    other = tmp_path / "elsewhere"
    with environment(MINDTRACE_DIR_PATHS__ROOT=str(other)), launched(Gateway) as gateway:
        gateway.register_app("odd", "http://127.0.0.1:9")
        assert file_at(other, gateway.url.port).exists()
