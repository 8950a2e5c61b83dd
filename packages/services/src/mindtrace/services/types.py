"""What the standard endpoints of a service answer with."""

import json
from dataclasses import dataclass
from enum import Enum
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from mindtrace.core.task import TaskSchema


class ServerStatus(Enum):
    """Says what a service is doing."""

    DOWN = "Down"
    LAUNCHING = "Launching"
    FAILED_TO_LAUNCH = "FailedToLaunch"
    AVAILABLE = "Available"
    STOPPING = "Stopping"


@dataclass
class Heartbeat:
    """A sign of life.

    Attributes:
        status: What the service is doing.
        server_id: The running service: a new one at each start.
        message: A word about the status.
        details: Whatever a subclass wants to say of itself; JSON.
    """

    status: ServerStatus = ServerStatus.DOWN
    server_id: UUID | None = None
    message: str | None = None
    details: Any = None

    def __str__(self) -> str:
        details = json.dumps(self.details, indent=2) if self.details is not None else None
        return (
            f"Server ID: {self.server_id}\nStatus: {self.status.value}\n"
            f"Message: {self.message}\nDetails: {details}"
        )


class EndpointsOutput(BaseModel):
    """The names of all endpoints."""

    endpoints: list[str]


class StatusOutput(BaseModel):
    """What the service is doing."""

    status: ServerStatus


class HeartbeatOutput(BaseModel):
    """A sign of life."""

    heartbeat: Heartbeat


class ServerIDOutput(BaseModel):
    """Which running service this is."""

    server_id: UUID


class ClassNameOutput(BaseModel):
    """The name of the service's class."""

    class_name: str


class PIDFileOutput(BaseModel):
    """The file that holds the number of the service's process; None if it writes none."""

    pid_file: str | None = None


class ShutdownOutput(BaseModel):
    """Whether the service is about to end."""

    shutdown: bool


EndpointsSchema = TaskSchema(name="endpoints", output_schema=EndpointsOutput)
StatusSchema = TaskSchema(name="status", output_schema=StatusOutput)
HeartbeatSchema = TaskSchema(name="heartbeat", output_schema=HeartbeatOutput)
ServerIDSchema = TaskSchema(name="server_id", output_schema=ServerIDOutput)
ClassNameSchema = TaskSchema(name="class_name", output_schema=ClassNameOutput)
PIDFileSchema = TaskSchema(name="pid_file", output_schema=PIDFileOutput)
ShutdownSchema = TaskSchema(name="shutdown", output_schema=ShutdownOutput)
