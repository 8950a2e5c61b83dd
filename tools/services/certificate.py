"""A certificate for 127.0.0.1 and localhost, to test encrypted connections with."""

from pathlib import Path
from typing import NamedTuple

from tools import commands
from tools.services.process import ServerError


class Certificate(NamedTuple):
    """A certificate that signs itself (clients trust it as an authority), and its private key."""

    certificate: Path
    key: Path


def make_certificate(folder: Path) -> Certificate:
    """Make a certificate that is valid for a day, with the program `openssl`."""
    made = Certificate(folder / "certificate.pem", folder / "key.pem")
    request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
    request += ["-subj", "/CN=localhost"]
    request += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    done = commands.run(*request, "-keyout", str(made.key), "-out", str(made.certificate))
    if done.returncode != 0:
        raise ServerError(f"openssl could not make a certificate: {done.stderr.strip()}")
    return made
