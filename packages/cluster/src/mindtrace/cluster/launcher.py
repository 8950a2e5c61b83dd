"""`StandardWorkerLauncher`: launches workers by the name of their type in a registry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import HttpUrl

from mindtrace.cluster.folders import git_folder_of
from mindtrace.cluster.git.access import Access
from mindtrace.cluster.git.source import Source
from mindtrace.cluster.git.workplace import Workplace
from mindtrace.cluster.ports.registry import open_registry
from mindtrace.cluster.settings import cluster_settings
from mindtrace.cluster.worker import Worker
from mindtrace.core.settings import get_config
from mindtrace.services.interpreter import Interpreter
from mindtrace.services.launching import Launch, launch

if TYPE_CHECKING:
    from threading import Event

    from mindtrace.cluster.core.types import ProxyWorker

TIMEOUT = 120.0
"""Seconds that a worker may take to be ready."""


class StandardWorkerLauncher:
    """Launches workers as a registry describes them.

    Args:
        uri: The registry; see `open_registry`.
    """

    def __init__(self, uri: str) -> None:
        self.registry = open_registry(uri)

    def save(self, name: str, worker: ProxyWorker) -> None:
        """Describe a worker type. Whoever may do that can run code on every node."""
        self.registry.save(name, worker)

    def load(self, name: str) -> ProxyWorker:
        """Return the description of a worker type."""
        return self.registry.load(name)

    def workplace(self, worker: ProxyWorker, stop: Event | None = None) -> Workplace | None:
        """Check out where a worker type comes from; None if it does not come from a repository.

        It can be launched there any number of times. Close it when its workers have ended.

        Raises:
            ClusterError: it cannot be checked out, or its dependencies cannot be installed.
            ImportError: the extra `git` is not installed, or git is not.
        """
        source = Source.of(worker)
        if source is None:
            return None
        config = get_config()
        settings = cluster_settings(config)
        return Workplace.make(source, git_folder_of(settings, config), Access.of(settings), stop)

    # Any: the client that the class of the worker makes
    def launch(self, name: str, url: str, workplace: Workplace | None = None) -> Any:
        """Launch a worker of a type at a URL, and return a client of it when it is ready.

        The client has the methods that every worker has: its class is known to its own process
        alone, so that nothing of it can do harm to this one.

        Args:
            name: The worker type.
            url: Where it is to be.
            workplace: Where one from a repository is launched, as `workplace` returned it.
                Without, it gets one that lasts as long as this process.

        Raises:
            WorkerTypeNotFoundError: nobody registered it.
            ServiceLaunchError: there is no such class, or it did not get ready.
            ClusterError: as `workplace`.
        """
        found = self.load(name)
        if workplace is None:
            workplace = self.workplace(found)
            if workplace is not None:
                _lasting.append(workplace)
        manager = self.begin(found, url, workplace)
        manager.wait_for_launch(TIMEOUT)
        return manager

    # Any: as `launch`
    def begin(self, worker: ProxyWorker, url: str, workplace: Workplace | None) -> Any:
        """Begin to launch a worker, in its workplace if it has one; `wait_for_launch` waits."""
        interpreter = None
        if workplace is not None:
            python, folder = workplace.environment.python, workplace.checkout.folder
            interpreter = Interpreter(str(python), folder)
        plan = Launch(
            Worker,
            HttpUrl(url),
            TIMEOUT,
            init_params=worker.worker_params,
            target=worker.worker_type,
            interpreter=interpreter,
        )
        return launch(plan, wait=False, block=False, shows=False)


_lasting: list[Workplace] = []
"""What is to last as long as this process."""
