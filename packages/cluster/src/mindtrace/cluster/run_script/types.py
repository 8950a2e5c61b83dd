"""What a job for `RunScriptWorker` says, and what is known of it in the end."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ByteSize,
    ConfigDict,
    Field,
    computed_field,
    model_validator,
)

Count = Annotated[int, Field(ge=1)]
Size = Annotated[ByteSize, Field(ge=1)]
"""Bytes: a number, or a text such as `512MiB`."""


def _plain(text: str) -> str:
    if "\0" in text:
        message = "a zero byte has no place in a command, a variable or a path"
        raise ValueError(message)
    return text


Text = Annotated[str, AfterValidator(_plain)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Port = Annotated[str, Field(pattern=r"^[0-9]{1,5}(/(tcp|udp|sctp))?$")]
HostPort = Annotated[int, Field(ge=1, le=65535)]


class _Said(BaseModel):
    """What a job says: a word that nobody knows is an error, not a wish without effect."""

    # what is wrong is told without the values, of which some may be secret
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class SecretName(_Said):
    """Stands for a secret that the worker has: a queue keeps jobs in clear text.

    Attributes:
        secret: Its name among `MINDTRACE_RUN_SCRIPT__SECRETS__...`.
    """

    secret: str


class Limits(_Said):
    """What a job may use at most; what the worker allows is the limit where nothing is said.

    Attributes:
        memory: Bytes of memory of all its processes together.
        cpus: Processors, in a container alone.
        processes: How many there may be at a time.
        file_size: Bytes of one file that it writes.
    """

    memory: Size | None = None
    cpus: Annotated[float, Field(gt=0)] | None = None
    processes: Count | None = None
    file_size: Size | None = None


class GitSpec(_Said):
    """A commit of a repository; `Source` says what the fields mean, and an empty text is none."""

    repo_url: Text
    branch: Text | None = None
    commit: Text | None = None
    working_dir: Text | None = None
    project: Text | None = None


class Mount(_Said):
    """A folder of the host in a container.

    Attributes:
        bind: Where it is in the container.
        mode: Whether it can be written.
    """

    bind: Text
    mode: Literal["ro", "rw"] = "ro"


class DockerSpec(_Said):
    """A container. What is not said is as narrow as the worker has it.

    Attributes:
        image: The name of an image.
        working_dir: The folder to work in; the image's own if there is none.
        environment: Variables, beside those of the job.
        volumes: Folders of the host, with where they are in the container.
        devices: Devices of the host, as `docker run --device` has them.
        ports: Ports in the container (`80/tcp`), with those of the host; None for any free one.
        pull: When the image is pulled.
        network: The network: `none`, `bridge`, or the name of one.
        user: As whom it runs: `uid` or `uid:gid`.
        read_only: Whether nothing can be written but `/tmp` and volumes.
        capabilities: Capabilities of Linux that it keeps.
        gpus: How many GPUs it gets; -1 for all.
    """

    image: Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.:/@-]*$")]
    working_dir: Text | None = None
    environment: dict[Name, Text] = Field(default_factory=dict)
    volumes: dict[Text, Mount | Text] = Field(default_factory=dict)
    devices: list[Text] = Field(default_factory=list)
    ports: dict[Port, HostPort | None] = Field(default_factory=dict)
    pull: Literal["missing", "never", "always"] | None = None
    network: Text | None = None
    user: Annotated[str, Field(pattern=r"^\d+(:\d+)?$")] | None = None
    read_only: bool = True
    capabilities: list[Text] = Field(default_factory=list)
    gpus: Literal[-1] | Count | None = None


class EnvironmentSpec(_Said):
    """Where a command runs: exactly one of the two."""

    git: GitSpec | None = None
    docker: DockerSpec | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.git is None) == (self.docker is None):
            message = "a job has exactly one environment: either git or docker"
            raise ValueError(message)
        return self


class RunScriptWorkerInput(_Said):
    """A command, and where it runs.

    Attributes:
        environment: `{"git": {...}}` or `{"docker": {...}}`.
        command: A text for the shell of the environment, or a program with its arguments.
        timeout: Seconds that the command may take; getting the environment ready does not count.
        env: Variables; a secret is given by its name, `{"TOKEN": {"secret": "name"}}`.
        limits: What the command may use.
    """

    environment: EnvironmentSpec
    command: Text | list[Text]
    timeout: Annotated[float, Field(gt=0)] | None = None
    env: dict[Name, Text | SecretName] = Field(default_factory=dict)
    limits: Limits = Field(default_factory=Limits)

    @model_validator(mode="after")
    def _something(self) -> Self:
        first = self.command if isinstance(self.command, str) else "".join(self.command[:1])
        if not first.strip():
            message = "the command is empty"
            raise ValueError(message)
        return self

    @property
    def arguments(self) -> list[str]:
        """The program and its arguments, as the environment executes them."""
        return ["/bin/sh", "-c", self.command] if isinstance(self.command, str) else self.command


class RunScriptWorkerOutput(BaseModel):
    """How a command ended.

    Attributes:
        stdout: What it wrote: its beginning and its end where it is long.
        stderr: Likewise.
        exit_code: As a shell has it: 128 and the number of the signal that killed it.
        duration: Seconds that the command took.
        limits_hit: Why it was ended: `timeout`, `memory`, `processes`, `output`, `cancelled`.
        commit: What was checked out.
        image: By what the very image can be had again: `repository@sha256:...` where it was pulled,
            else `sha256:...`, what the engine calls it.
        stdout_size: Bytes that it wrote.
        stderr_size: Likewise.
        stdout_file: Where all of it is, on the worker's machine, for as long as that is kept.
        stderr_file: Likewise.
    """

    stdout: str = ""
    stderr: str = ""
    exit_code: int = 0
    duration: float = 0.0
    limits_hit: list[str] = Field(default_factory=list)
    commit: str | None = None
    image: str | None = None
    stdout_size: int = 0
    stderr_size: int = 0
    stdout_file: str | None = None
    stderr_file: str | None = None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def output(self) -> str:
        """Another name of `stdout`."""
        return self.stdout

    @computed_field  # type: ignore[prop-decorator]
    @property
    def error(self) -> str:
        """Another name of `stderr`."""
        return self.stderr
