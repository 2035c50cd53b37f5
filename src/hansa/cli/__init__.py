"""The command `hansa`: one module a group of commands; each imports what it runs when it runs."""

from __future__ import annotations

import logging
import signal
import sys
from typing import TYPE_CHECKING, Annotated, Final, NoReturn

import typer

from hansa import __version__
from hansa.cli import (
    alliance,
    bench,
    benchmark,
    chaos,
    constitution,
    doctor,
    egress,
    evidence,
    keys,
    kit,
    market,
    node,
    privacy,
    replay,
    ripple,
    server,
    show,
    verify,
)
from hansa.errors import HansaError

if TYPE_CHECKING:
    from types import FrameType

app = typer.Typer(
    no_args_is_help=True, invoke_without_command=True, add_completion=False, pretty_exceptions_enable=False
)
app.add_typer(kit.app, name="kit")
app.add_typer(keys.app, name="keys")
app.add_typer(constitution.app, name="constitution")
app.add_typer(bench.app, name="bench")
app.add_typer(benchmark.app, name="benchmark")
app.add_typer(evidence.app, name="evidence")
app.add_typer(egress.app, name="egress")
app.add_typer(market.app, name="market")
app.add_typer(privacy.app, name="privacy")
app.add_typer(node.coordinator_app, name="coordinator")
app.add_typer(node.member_app, name="member")
app.add_typer(server.app, name="server")
app.command("alerts")(show.alerts)
app.command("chaos")(chaos.chaos)
app.command("doctor")(doctor.doctor)
app.command("demo")(alliance.demo)
app.command("replay")(replay.replay)
app.command("ripple")(ripple.ripple)
app.command("run")(alliance.run)
app.command("status")(show.status)
app.command("verify")(verify.verify)
app.command("watch")(show.watch)
# asyncio says so whenever a server ends a TLS stream first; the stream is closed in order all the same.
_TLS_END: Final = "returning true from eof_received() has no effect when using ssl"


@app.callback()
def _root(
    *, is_version: Annotated[bool, typer.Option("--version", help="Print the version and end.", is_eager=True)] = False
) -> None:
    """Rival brokers forecast market liquidity together; nobody sees anybody's data."""
    if is_version:
        typer.echo(f"hansa {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line; a refusal is one line on standard error and exit code 2."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # under nohup a hang-up stays ignored
            signal.signal(number, _leave)
    logging.getLogger("asyncio").addFilter(lambda record: record.getMessage() != _TLS_END)
    try:
        app()
    except HansaError as error:
        sys.stderr.write(f"hansa: {error}\n")
        raise SystemExit(2) from error


def _leave(number: int, _frame: FrameType | None) -> NoReturn:
    """End in order, so that what this command has started ends with it."""
    raise SystemExit(128 + number)
