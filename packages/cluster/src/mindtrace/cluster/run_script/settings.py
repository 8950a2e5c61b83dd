"""The settings of a `RunScriptWorker`: the variables `MINDTRACE_RUN_SCRIPT__...`.

A job widens nothing by itself: what it may ask for stands here.
"""

import os
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, ByteSize, Field, SecretStr

from mindtrace.core.section import Section
from mindtrace.core.settings import Config, get_config
from mindtrace.services.settings import Words

GIB = 1024**3


def _secrets(given: object) -> object:
    # an undeclared group of variables arrives as a section
    return given.model_dump() if isinstance(given, Section) else given


def _most_memory() -> ByteSize:
    return ByteSize(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * 3 // 4)


class RunScriptSettings(Section):
    """What jobs of a worker may do, and where it keeps their records.

    Attributes:
        folder: Where the records are; `run_script` below the folder of Mindtrace unless set.
        environments: Which are served, of `git` and `docker`.
        secrets: What jobs may name as secrets in `env`, in lower case.
        timeout: Seconds that a command may take at most.
        grace: Seconds between SIGTERM and SIGKILL.
        memory: Bytes of memory of a job at most; three quarters of the machine's unless set.
        cpus: Processors of a container at most; none unless set.
        processes: Processes of a job at most.
        file_size: Bytes of one file that a job writes, at most.
        shown: Bytes of each output stream that the outcome of a job holds.
        output: Bytes that a job may write to its output streams.
        records: Records that are kept; the oldest are removed.
        records_size: Bytes that all of them may have.
        pass_variables: Variables of the worker that Git jobs see beside the usual ones.
        run_as: The user as whom Git jobs run; takes a worker that may become another.
        images: Images that may be run, by name or by beginning (`registry.example/ours/*`).
        pull: When images are pulled where a job does not say: `missing`, `never` or `always`.
        volume_roots: Folders of the host that jobs may mount from; those that they may write to
            with `:rw` at the end. The engine has to be on the same machine.
        devices: Devices of the host that jobs may have.
        networks: Networks that jobs may have; the first is that of those who do not say.
        user: As whom containers run.
        any_user: Whether a job may choose another user, root among them.
        writable_root: Whether a job may write outside of `/tmp` and volumes.
        capabilities: Capabilities of Linux that a job may keep.
        ports: Whether a job may publish ports.
        ports_address: The address of the host at which they are published.
        gpus: Whether a job may have GPUs.
        tmp_size: Bytes of the `/tmp` of a container.
        init: Whether a small program of the engine is the first in a container: it hands SIGTERM on
            to programs that would not get it there.
    """

    folder: Path | None = None
    environments: Words = Field(default_factory=lambda: ["git", "docker"])
    secrets: Annotated[dict[str, SecretStr], BeforeValidator(_secrets)] = Field(
        default_factory=dict[str, SecretStr]
    )
    timeout: float = Field(default=24 * 3600.0, gt=0)
    grace: float = Field(default=10.0, ge=0)
    memory: ByteSize = Field(default_factory=_most_memory)
    cpus: float | None = Field(default=None, gt=0)
    processes: int = Field(default=4096, ge=1)
    file_size: ByteSize = ByteSize(100 * GIB)
    shown: int = Field(default=16 * 1024, ge=0)
    output: ByteSize = ByteSize(4 * GIB)
    records: int = Field(default=200, ge=0)
    records_size: ByteSize = ByteSize(20 * GIB)
    pass_variables: Words = Field(default_factory=list[str])
    run_as: str | None = None
    images: Words = Field(default_factory=lambda: ["*"])
    pull: str = Field(default="missing", pattern="^(missing|never|always)$")
    volume_roots: Words = Field(default_factory=list[str])
    devices: Words = Field(default_factory=list[str])
    networks: Words = Field(default_factory=lambda: ["none"])
    user: str = "65534:65534"
    any_user: bool = False
    writable_root: bool = False
    capabilities: Words = Field(default_factory=list[str])
    ports: bool = False
    ports_address: str = "127.0.0.1"
    gpus: bool = False
    tmp_size: ByteSize = ByteSize(GIB // 2)
    init: bool = True


def run_script_settings(config: Config | None = None) -> RunScriptSettings:
    """Return the settings of run-script workers.

    Raises:
        ValueError: a variable has no possible value; the message names it.
    """
    return (config or get_config()).section("run_script", RunScriptSettings)
