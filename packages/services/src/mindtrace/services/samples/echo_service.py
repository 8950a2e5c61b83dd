"""`EchoService`: says what it is told, after a while if asked to."""

from __future__ import annotations

import time

from pydantic import BaseModel, Field

from mindtrace.core.task import TaskSchema
from mindtrace.services.service import Service


class EchoInput(BaseModel):
    """What to say.

    Attributes:
        message: The text.
        delay: Seconds to wait before.
    """

    message: str
    delay: float = Field(default=0.0, ge=0, le=3600)


class EchoOutput(BaseModel):
    """What was said."""

    echoed: str


echo_task = TaskSchema(name="echo", input_schema=EchoInput, output_schema=EchoOutput)


class EchoService(Service):
    """Says what it is told."""

    def __init__(self, **kwargs: object) -> None:
        super().__init__(summary="Says what it is told.", **kwargs)  # type: ignore[arg-type]
        self.add_endpoint("/echo", self.echo, schema=echo_task)

    def echo(self, payload: EchoInput) -> EchoOutput:
        """Return the message, after the delay."""
        if payload.delay > 0:
            time.sleep(payload.delay)  # noqa: TID251 - to take time is what it is asked for
        return EchoOutput(echoed=payload.message)
