from __future__ import annotations

import pickle
from typing import Any

import pytest

from mindtrace.core import MindtraceError, PortInUseError
from mindtrace.services import (
    AccessDeniedError,
    InsecureBindError,
    RequestInvalidError,
    ServiceError,
    ServiceLaunchError,
    ServicePortInUseError,
    ServiceTimeoutError,
    ServiceUnavailableError,
)

URL = "http://localhost:8000/echo"
DETAILS = [{"loc": ["body", "delay"], "msg": "Input should be a number", "type": "float_type"}]

ALL: list[tuple[MindtraceError, tuple[type, ...], dict[str, Any], str]] = [
    (
        ServiceError(URL, 500, "KeyError", "'x'", "id-1"),
        (),
        {"status": 500, "remote_type": "KeyError", "remote_message": "'x'", "request_id": "id-1"},
        f"{URL} answered with KeyError: 'x' (HTTP 500, request id-1)",
    ),
    (
        ServiceError(URL, 404, "NotFound", "Not Found"),
        (),
        {"status": 404, "request_id": ""},
        f"{URL} answered with NotFound: Not Found (HTTP 404)",
    ),
    (
        AccessDeniedError(URL, 401, "refused", "a token is needed", "id-1"),
        (ServiceError,),
        {"status": 401, "request_id": "id-1"},
        f"{URL} answered with refused: a token is needed (HTTP 401, request id-1)",
    ),
    (
        RequestInvalidError(URL, DETAILS, "id-1"),
        (ServiceError,),
        {"status": 422, "details": DETAILS, "request_id": "id-1"},
        (
            f"{URL} answered with invalid input: delay: Input should be a number "
            "(HTTP 422, request id-1)"
        ),
    ),
    (
        ServiceUnavailableError(URL, "nobody is there"),
        (ConnectionError,),
        {"url": URL, "problem": "nobody is there"},
        f"{URL} is not available: nobody is there.",
    ),
    (
        ServiceTimeoutError(URL, 0.5),
        (TimeoutError,),
        {"url": URL, "seconds": 0.5},
        f"{URL} did not answer within 0.5 s; it may still be at it.",
    ),
    (
        ServiceLaunchError("Echo", "it fell", "last\nlines"),
        (),
        {"service": "Echo", "problem": "it fell", "output": "last\nlines"},
        "Echo did not start: it fell.\nThe last lines it wrote:\nlast\nlines",
    ),
    (
        ServicePortInUseError("Echo", "localhost", 80),
        (ServiceLaunchError, PortInUseError),
        {"host": "localhost", "port": 80, "address": "localhost:80", "output": ""},
        (
            "Echo did not start: port 80 of localhost is already in use; stop its owner or choose "
            "another."
        ),
    ),
    (
        InsecureBindError("Echo", "0.0.0.0"),
        (ServiceLaunchError,),
        {"host": "0.0.0.0", "service": "Echo"},
        (
            "Echo did not start: 0.0.0.0 can be reached by other machines and no token is set; set "
            "MINDTRACE_SERVICES__API_TOKEN, or say insecure=True."
        ),
    ),
]


@pytest.mark.parametrize(("error", "kinds", "facts", "text"), ALL)
def test_an_error_has_its_facts_and_keeps_them_when_it_travels(
    error: MindtraceError, kinds: tuple[type, ...], facts: dict[str, Any], text: str
) -> None:
    for each in (error, pickle.loads(pickle.dumps(error))):
        assert type(each) is type(error)
        assert isinstance(each, (*kinds, MindtraceError))
        assert all(isinstance(each, kind) for kind in kinds)
        assert {name: getattr(each, name) for name in facts} == facts
        assert str(each) == text


def test_details_that_name_no_place_are_shown_as_they_are() -> None:
    error = RequestInvalidError(
        URL, [{"msg": "all wrong"}, {"loc": ["body"], "msg": "no JSON"}, {}]
    )

    assert error.remote_message == "all wrong; no JSON; {}"
