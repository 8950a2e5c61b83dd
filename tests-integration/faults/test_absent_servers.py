"""A server that is not there, or does not let anybody in: who says what, and who waits."""

import pytest
import verdict
from crew import Crew
from orders import Orders
from outage import BACK_WITHIN
from places import LOCKED, RABBITMQ, REDIS, Place

from mindtrace.jobs import BackendUnavailableError, Job, Orchestrator
from mindtrace.jobs.testing.waiting import eventually

WORK = {"do": "work", "seconds": 0.0}
WRONG = "not-the-password"
WAITS = "Waiting for it to come back"


def wrong(place: Place) -> Place:
    """The same place with a wrong password."""
    url: str = place.kwargs["url"]
    login = f"guest:{WRONG}@" if place.backend == "rabbitmq" else f":{WRONG}@"
    scheme, _, rest = url.partition("://")
    return place.said(url=f"{scheme}://{login}{rest.rpartition('@')[2]}")


@pytest.mark.parametrize("crew", [LOCKED, RABBITMQ], indirect=True)
def test_a_wrong_password_is_told_at_once_and_not_shown(crew: Crew) -> None:
    crew.declare()
    orchestrator = Orchestrator(wrong(crew.place).open())

    with pytest.raises(BackendUnavailableError) as refused:
        orchestrator.publish("work", Job(name="work", payload=WORK))
    worker = crew.start(Orders(role="consume", place=wrong(crew.place)))
    code = worker.ended()

    assert code == 3
    (told,) = worker.lines("error")
    for text in (str(refused.value), told.facts["text"]):
        assert f"127.0.0.1:{crew.server.port}" in text
        assert "password=" in text
    assert not refused.value.transient
    assert not told.facts["transient"]
    for shown in (repr(refused.value), repr(orchestrator.backend), crew.story()):
        assert WRONG not in shown
    orchestrator.close()


@pytest.mark.parametrize("crew", [REDIS, RABBITMQ], indirect=True)
def test_a_consumer_that_starts_before_its_server_begins_by_itself(crew: Crew) -> None:
    crew.declare()
    (first,) = crew.orchestrator.publish_many("work", [Job(name="work", payload=WORK)])
    crew.server.kill()

    worker = crew.start(Orders(role="consume"))
    eventually(
        lambda: any(WAITS in each.facts["text"] for each in worker.lines("log")),
        within=30,
        what="the consumer to say that it waits",
    )
    with pytest.raises(BackendUnavailableError) as refused:
        crew.orchestrator.publish("work", Job(name="work", payload=WORK))
    crew.server.start()
    worker.wait_for("effect", within=BACK_WITHIN)

    text = str(refused.value)
    assert f"at 127.0.0.1:{crew.server.port} cannot be used" in text
    assert "refused" in text
    assert text.count(". ") == 0, f"one sentence, not {text!r}"
    second = crew.orchestrator.publish("work", Job(name="work", payload=WORK))
    verdict.come_to_rest(crew, [first, second])
    verdict.check(crew, [first, second])
