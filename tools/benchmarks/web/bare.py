"""The floor: a bare FastAPI route that does what the echo service does, served by uvicorn.

It prints its port when it is ready, and ends when its standard input does.
"""

import os
import sys
import threading

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from mindtrace.services import sockets

app = FastAPI()


class EchoInput(BaseModel):
    """What to say."""

    message: str
    delay: float = 0.0


class EchoOutput(BaseModel):
    """What was said."""

    echoed: str


@app.post("/echo")
def echo(payload: EchoInput) -> EchoOutput:
    """Say it."""
    return EchoOutput(echoed=payload.message)


def main() -> None:
    """Serve."""
    listening = sockets.listening("127.0.0.1", 0)
    config = uvicorn.Config(app, log_level="warning", access_log=False)
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    print(listening[0].getsockname()[1], flush=True)
    uvicorn.Server(config).run(listening)


def _end_with_stdin() -> None:
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
