"""What the servers of one's own have in common: a folder, a port, and a life that tests decide."""

import signal
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from tools.services.process import Kept, ServerError, free_port


class OwnServer(ABC):
    """A server on 127.0.0.1 with its own data, which can be stopped, killed and started again.

    The port and the data stay the same for as long as the object lives, through any number of
    starts. The process ends with the block, and also when this process is killed.
    """

    starts_within: ClassVar[float] = 60.0
    stops_within: ClassVar[float] = 60.0

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder = folder
        self.port = free_port()
        self._process: Kept | None = None

    @property
    @abstractmethod
    def url(self) -> str:
        """The address that clients are given, password included."""

    @abstractmethod
    def _launch(self) -> Kept:
        """Write the configuration and start the process."""

    @abstractmethod
    def answers(self) -> bool:
        """Tell whether the server serves clients now."""

    @property
    def process(self) -> Kept:
        """The running process.

        Raises:
            ServerError: the server is not running.
        """
        if self._process is None:
            raise ServerError(f"{type(self).__name__} is not running; call start().")
        return self._process

    def start(self) -> Self:
        """Start, and return when clients are served."""
        if self._process is not None:
            raise ServerError(f"{type(self).__name__} is already running.")
        self._process = self._launch()
        try:
            self._process.wait_for(self.answers, self.starts_within)
        except BaseException:  # also Ctrl-C
            self.kill()
            raise
        return self

    def stop(self) -> None:
        """Shut down in order, and return when the process is gone; do nothing when it is not up."""
        process, self._process = self._process, None
        if process is not None:
            process.signal(signal.SIGCONT)  # it may be frozen
            process.terminate(self.stops_within)

    def kill(self) -> None:
        """Kill with SIGKILL, and return when the process is gone; do nothing when it is not up."""
        process, self._process = self._process, None
        if process is not None:
            process.close()

    def restart(self) -> Self:
        """Stop in order and start again, with the same data on the same port."""
        self.stop()
        return self.start()

    def freeze(self) -> None:
        """Let the server hang: connections stay open, nothing is answered."""
        self.process.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen server continue."""
        self.process.signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Kill: nobody needs the data any more."""
        self.kill()
