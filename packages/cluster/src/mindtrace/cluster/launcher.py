"""`StandardWorkerLauncher`: launches workers by the name of their type in a registry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import HttpUrl

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

    def workplace(self, name: str, stop: Event | None = None) -> Workplace | None:
        """Check out where a worker type comes from; None if it does not come from a repository.

        It can be launched there any number of times. Close it when its workers have ended.

        Raises:
            WorkerTypeNotFoundError: nobody registered it.
            ClusterError: it cannot be checked out, or its dependencies cannot be installed.
            ImportError: the extra `git` is not installed, or git is not.
        """
        source = Source.of(self.registry.load(name))
        if source is None:
            return None
        config = get_config()
        settings = cluster_settings(config)
        cache = settings.git_folder or config.dir_paths.root / "git"
        return Workplace.make(source, cache.expanduser().absolute(), Access.of(settings), stop)

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
        manager = self.begin(name, url, workplace)
        manager.wait_for_launch(TIMEOUT)
        return manager

    # Any: as `launch`
    def begin(self, name: str, url: str, workplace: Workplace | None = None) -> Any:
        """Do what `launch` does, but return at once; `wait_for_launch` of the client waits."""
        found = self.registry.load(name)
        interpreter = None
        if found.git_repo_url is not None:
            if workplace is None:
                workplace = self.workplace(name)
                _lasting.append(workplace)
            assert workplace is not None, "the type comes from a repository"
            python, folder = workplace.environment.python, workplace.checkout.folder
            interpreter = Interpreter(str(python), folder)
        plan = Launch(
            Worker,
            HttpUrl(url),
            TIMEOUT,
            init_params=found.worker_params,
            target=found.worker_type,
            interpreter=interpreter,
        )
        return launch(plan, wait=False, block=False, shows=False)


_lasting: list[Workplace | None] = []
"""What is to last as long as this process."""
