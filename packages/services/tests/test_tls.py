from __future__ import annotations

import asyncio
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from services_support import EachService, environment, launched

from mindtrace.core import InvalidSettingError
from mindtrace.services import ServerStatus, ServiceError, ServiceUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.process

REQUEST = "req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost -addext"
NAMES = "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate that signs itself; its key is in key.pem beside it."""
    folder = tmp_path_factory.mktemp("tls")
    files = ["-keyout", folder / "key.pem", "-out", folder / "certificate.pem"]
    try:
        subprocess.run(
            ["openssl", *REQUEST.split(), NAMES, *files], check=True, capture_output=True
        )
    except FileNotFoundError:
        pytest.skip("there is no openssl to make a certificate with")
    return folder / "certificate.pem"


@pytest.fixture(scope="module")
def each(certificate: Path) -> Iterator[Any]:
    variables = {
        "MINDTRACE_SERVICES__TLS_CERTIFICATE": str(certificate),
        "MINDTRACE_SERVICES__TLS_KEY": str(certificate.with_name("key.pem")),
        "MINDTRACE_SERVICES__TLS_CA": str(certificate),
    }
    with launched(EachService, variables) as manager:
        yield manager


def test_calls_are_encrypted_where_a_certificate_is_set(each: Any) -> None:
    assert each.url.scheme == "https"
    assert each.add(a=1, b=2).total == 3
    assert each.heartbeat().heartbeat.status is ServerStatus.AVAILABLE

    async def call() -> float:
        total: float = (await each.aadd(a=1, b=2)).total
        await each.aclose()
        return total

    assert asyncio.run(call()) == 3


def test_who_does_not_trust_the_certificate_does_not_call(each: Any) -> None:
    with type(each)(each.url).only_talking() as stranger:
        with pytest.raises(ServiceUnavailableError, match="CERTIFICATE_VERIFY_FAILED"):
            stranger.add(a=1, b=2)
        assert stranger.status().status is ServerStatus.DOWN


def test_a_plain_call_to_an_encrypted_service_is_an_error(each: Any) -> None:
    plain = str(each.url).replace("https", "http")

    with pytest.raises((ServiceUnavailableError, ServiceError)):
        EachService.connect(plain)


def test_another_name_than_the_certificates_is_not_trusted(each: Any, certificate: Path) -> None:
    with environment(MINDTRACE_SERVICES__TLS_CA=str(certificate)):
        other = type(each)(str(each.url).replace("localhost", "127.0.0.2"))

    with other.only_talking(), pytest.raises(ServiceUnavailableError):
        other.add(a=1, b=2)


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_an_authority_that_cannot_be_read_is_named(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content, encoding="ascii")

    with (
        environment(MINDTRACE_SERVICES__TLS_CA=str(file)),
        pytest.raises(InvalidSettingError) as caught,
    ):
        EachService.client_class()()

    assert "MINDTRACE_SERVICES__TLS_CA" in str(caught.value)
    assert str(file) in str(caught.value)


def test_an_encrypted_service_is_stopped_and_its_port_is_free(certificate: Path) -> None:
    variables = {
        "MINDTRACE_SERVICES__TLS_CERTIFICATE": str(certificate),
        "MINDTRACE_SERVICES__TLS_KEY": str(certificate.with_name("key.pem")),
        "MINDTRACE_SERVICES__TLS_CA": str(certificate),
    }
    with launched(EachService, variables) as manager, environment(**variables):
        other = EachService.connect(manager.url)
        other.shutdown(block=True)

        assert EachService.status_at_host(manager.url) is ServerStatus.DOWN
