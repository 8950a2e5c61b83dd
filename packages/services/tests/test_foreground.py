"""A service in the process that a supervisor starts."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
from processes_support import Plain, Program

from mindtrace.services import ServerStatus

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.process

SERVING = """
    import sys
    from mindtrace.services.ending import leave
    from mindtrace.services.errors import ServiceLaunchError
    from mindtrace.services.foreground import serve_here
    from mindtrace.services.launching import Launch
    from processes_support import Failing, Plain
    try:
        code = serve_here(
            Launch({name}, {name}.build_url(port=0), init_params={params}),
            lambda url: print(url, flush=True),
        )
    except ServiceLaunchError as error:
        sys.exit(str(error))
    leave(code)
"""


def test_it_serves_until_a_signal_comes(tmp_path: Path) -> None:
    with Program(SERVING.format(name="Plain", params={}), tmp_path) as program:
        url = program.line()
        assert Plain.status_at_host(url) is ServerStatus.AVAILABLE
        (file,) = program.pid_files()
        assert file.read_text() == str(program.process.pid)

        program.process.send_signal(signal.SIGTERM)

        assert program.ended() == 0
        assert program.leaves_nothing()


def test_one_that_cannot_start_says_why(tmp_path: Path) -> None:
    with Program(SERVING.format(name="Failing", params={"how": "startup"}), tmp_path) as program:
        assert program.ended() == 1
        assert program.text().splitlines()[-1] == (
            "Failing did not start: LookupError in startup(): no camera."
        )
        assert program.leaves_nothing()
