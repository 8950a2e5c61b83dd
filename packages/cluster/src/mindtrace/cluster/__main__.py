"""The command `mindtrace-cluster`: a manager or a node in the foreground, and how a cluster is.

It is for supervisors such as systemd or a container's engine; programs call `launch`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from mindtrace.cluster.settings import ports_in
from mindtrace.core import MindtraceError

if TYPE_CHECKING:
    from mindtrace.services import Service

MANAGER = "http://localhost:8002"

app = typer.Typer(
    name="mindtrace-cluster",
    help="Run the parts of a cluster. Settings are the variables MINDTRACE_CLUSTER__... and "
    "MINDTRACE_SERVICES__... of the environment.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # they show local variables, which may be secrets
)

EVERYWHERE = {"", "*", "0.0.0.0", "::", "[::]"}  # noqa: S104 - they are refused


def _host(host: str) -> str:
    """Return the name of a host that others can call."""
    if host in EVERYWHERE:
        message = f"{host!r} is no name that others can call; give this machine's name or address"
        raise typer.BadParameter(message)
    return host


def _url(url: str) -> str:
    """Return the URL of a service."""
    from mindtrace.services.urls import checked  # noqa: PLC0415 - slow to load, as are the others

    try:
        return str(checked(url))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


Port = Annotated[int, typer.Option(min=0, max=65535, help="Where it listens; 0 is any free one.")]
Host = Annotated[
    str,
    typer.Option(callback=_host, help="The name or address under which others reach it."),
]
Insecure = Annotated[
    bool, typer.Option("--insecure", help="Let other machines in though no token is set.")
]
ClusterUrl = Annotated[str, typer.Option(callback=_url, help="Where the manager is.")]


@app.command()
def manager(
    host: Host = "localhost",
    port: Port = 8002,
    insecure: Insecure = False,  # noqa: FBT002 - a flag
) -> None:
    """Run a manager until SIGTERM or Ctrl-C."""
    from mindtrace.cluster import ClusterManager  # noqa: PLC0415 - slow to load

    _serve(ClusterManager, host, port, "MINDTRACE_SERVICES__API_TOKEN", insecure=insecure)


@app.command()
def node(
    cluster_url: ClusterUrl,
    host: Host = "localhost",
    port: Port = 8003,
    worker_ports: Annotated[
        str | None,
        typer.Option(
            metavar="FIRST-LAST",
            help="The ports of its workers; else MINDTRACE_CLUSTER__WORKER_PORTS_RANGE.",
        ),
    ] = None,
    insecure: Insecure = False,  # noqa: FBT002 - a flag
) -> None:
    """Run a node until SIGTERM or Ctrl-C; then its workers finish their jobs, and end."""
    from mindtrace.cluster import Node  # noqa: PLC0415 - slow to load

    params: dict[str, Any] = {"cluster_url": cluster_url}
    if worker_ports is not None:
        try:
            params["worker_ports"] = ports_in(worker_ports)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--worker-ports") from error
    _serve(Node, host, port, "MINDTRACE_CLUSTER__NODE_TOKEN", insecure=insecure, **params)


@app.command()
def status(cluster_url: ClusterUrl = MANAGER) -> None:
    """Show the nodes of a cluster and their workers; exit code 1 if the manager does not answer."""
    from mindtrace.cluster import ClusterManager  # noqa: PLC0415 - slow to load

    try:
        with ClusterManager.connect(cluster_url, timeout=5.0).only_talking() as cluster:
            nodes = cluster.list_nodes().nodes
            busy = {each.worker_id: each for each in cluster.list_workers().workers}
    except MindtraceError as error:
        _say(error)
        raise typer.Exit(1) from error
    typer.echo(f"manager {cluster_url}")
    for each in nodes:
        typer.echo(f"  node {each.node_url} {each.status}")
        for worker in each.workers if each.status == "alive" else ():
            known = busy.get(worker.worker_id)
            doing = f" {known.status}" if known else ""
            typer.echo(f"    worker {worker.worker_name} {worker.worker_url}{doing}")


@app.command()
def token(
    url: Annotated[str, typer.Argument(callback=_url, help="Where the service is.")] = MANAGER,
) -> None:
    """Print what opens a service of yours on this machine that was launched without any token.

    Show it as `Authorization: Bearer ...`; it is for that port only. Services for which tokens are
    set want one of those instead.
    """
    from pydantic import HttpUrl  # noqa: PLC0415 - slow to load

    from mindtrace.cluster.tokens import own_token  # noqa: PLC0415
    from mindtrace.core import get_config  # noqa: PLC0415

    found = own_token(HttpUrl(url), get_config())
    if found is None:
        _say(
            f"no service of this user was launched at {url}; a token is for services of this "
            "machine, such as http://localhost:8002"
        )
        raise typer.Exit(1)
    typer.echo(found)


def _serve(
    cls: type[Service], host: str, port: int, token: str, *, insecure: bool, **params: Any
) -> NoReturn:
    from mindtrace.services import InsecureBindError  # noqa: PLC0415 - slow to load
    from mindtrace.services.ending import leave  # noqa: PLC0415
    from mindtrace.services.foreground import serve_here  # noqa: PLC0415
    from mindtrace.services.launching import Launch  # noqa: PLC0415

    try:
        url = cls.build_url(host=host, port=port)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--host") from error
    plan = Launch(cls, url, init_params=params, insecure=insecure)
    try:
        code = serve_here(plan, lambda url: typer.echo(f"{cls.__name__} is ready at {url}"))
    except InsecureBindError:
        # one line, as it is read in the log of a supervisor
        _say(f"others can reach {host}, and no token is set; set {token}, or say --insecure")
        raise typer.Exit(2) from None
    except MindtraceError as error:
        _say(error)
        code = 1
    # not sys.exit: what half started may have threads that would be waited for
    leave(code)
    raise AssertionError  # it does not return


def _say(problem: object) -> None:
    typer.echo(f"mindtrace-cluster: {problem}", err=True)


if __name__ == "__main__":
    app(prog_name="mindtrace-cluster")
