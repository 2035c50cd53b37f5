"""`hansa server`: the message servers of a cluster, and their configuration for servers run by other means."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from hansa.federation.node import Node
    from hansa.federation.server_service import ServerPlace

app = typer.Typer(no_args_is_help=True, help="The message servers of a federation's own cluster.")

KitArgument = Annotated[Path, typer.Argument(help="The coordinator's kit folder, with constitution.json.")]
NameOption = Annotated[str, typer.Option(help="Name of this server, unlike the others'.")]
RoutesOption = Annotated[str, typer.Option(help="host:port of every server of the cluster, with commas.")]
StoreOption = Annotated[Path, typer.Option(help="Folder of this server's streams and log.")]
ListenOption = Annotated[str, typer.Option(help="Address to bind, for clients and for the other servers.")]
PortOption = Annotated[int, typer.Option(help="TCP port for clients.", min=1, max=65535)]
ClusterPortOption = Annotated[int, typer.Option(help="TCP port for the other servers.", min=1, max=65535)]


@app.command("run")
def run(
    directory: KitArgument,
    *,
    name: NameOption,
    routes: RoutesOption,
    store: StoreOption,
    listen: ListenOption = "0.0.0.0",  # noqa: S104  members dial in from outside; mutual TLS lets nobody else in
    port: PortOption = 4222,
    cluster_port: ClusterPortOption = 6222,
) -> None:
    """Run one server of the cluster in the foreground, until SIGINT or SIGTERM."""
    from hansa.federation.journal import journal_to_stderr
    from hansa.federation.node import run_until_signal
    from hansa.federation.server_service import run_server

    node, where = _place(directory, name, routes, store, listen, (port, cluster_port))
    journal_to_stderr()
    run_until_signal(lambda: run_server(node, where))


@app.command("config")
def config(
    directory: KitArgument,
    *,
    name: NameOption,
    routes: RoutesOption,
    store: StoreOption,
    listen: ListenOption = "0.0.0.0",  # noqa: S104  as above
    port: PortOption = 4222,
    cluster_port: ClusterPortOption = 6222,
) -> None:
    """Print the configuration of one server of the cluster, for `nats-server -c`: no secret is in it."""
    from hansa.federation.server_service import server_configuration

    typer.echo(server_configuration(*_place(directory, name, routes, store, listen, (port, cluster_port))))


def _place(  # noqa: PLR0917  the options of two commands
    directory: Path, name: str, routes: str, store: Path, listen: str, ports: tuple[int, int]
) -> tuple[Node, ServerPlace]:
    from hansa.federation.nats_server import ClusterPlace
    from hansa.federation.node import load_node, require_role
    from hansa.federation.server_service import ServerPlace

    node = load_node(directory)
    require_role(node, "coordinator")
    hosts = tuple(one.strip() for one in routes.split(",") if one.strip())
    return node, ServerPlace(store, ClusterPlace(name, ports[1], hosts, listen), listen, ports[0])
