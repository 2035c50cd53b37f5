"""`hansa egress`: what left a member, whether the record of it is whole, and what the streams say."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hansa.errors import ConfigurationError, StoreError

if TYPE_CHECKING:
    from hansa.federation.egress import Comparison, EgressHead
    from hansa.federation.store import Egress

app = typer.Typer(no_args_is_help=True, help="What left a member: its own record of it.")
Directory = Annotated[Path, typer.Argument(help="The member's kit folder.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("show")
def show(
    directory: Directory,
    last: Annotated[int, typer.Option(help="So many of the newest rows; 0 for all.")] = 20,
    *,
    as_json: AsJson = False,
) -> None:
    """List what left: when, for what, how many bytes, their SHA-256, what was charged. The chain is checked."""
    rows = _rows(directory)
    shown = rows[-last:] if last else rows
    if as_json:
        sys.stdout.write(json.dumps([_as_json(row) for row in shown], indent=1) + "\n")
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(
        title=f"{len(shown)} of {len(rows)} messages that left, {sum(row.size for row in rows):,} bytes in all",
        title_justify="left",
    )
    for name in ("number", "time (UTC)", "purpose", "session", "step", "bytes", "sha256", "budget"):
        table.add_column(name, justify="right" if name in {"number", "bytes"} else "left")
    for row in shown:
        table.add_row(
            str(row.number), _when(row.time_ns), row.purpose or "", row.session, row.step, f"{row.size:,}",
            row.sha256.hex()[:12], row.budget or "",
        )  # fmt: skip
    Console().print(table)


@app.command("head")
def head(directory: Directory, *, as_json: AsJson = False) -> None:
    """Print the record's head: what a log, or anybody else, keeps to see later that nothing was rewritten."""
    found = _head(directory)
    if as_json:
        sys.stdout.write(json.dumps(asdict(found)) + "\n")
    else:
        sys.stdout.write(
            f"{found.member}: {found.last} messages, {found.bytes} bytes, chain {found.chain or 'empty'}\n"
        )


@app.command("verify")
def verify(
    directory: Directory,
    since: Annotated[Path | None, typer.Option(help="A head that was kept: the record must continue it.")] = None,
    *,
    offline: Annotated[bool, typer.Option("--offline", help="Check the record alone, ask no server.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check the chain, and that streams and record hold the same messages; exit code 1 if they do not."""
    from hansa.federation.egress import continues

    faults: list[str] = []
    compared: Comparison | None = None
    try:
        rows = _rows(directory)
        if since is not None and not continues(rows, _kept(since)):
            faults.append(f"the record does not continue {since}: rows were changed, or the head is of another member")
        compared = None if offline else _compared(directory)
    except StoreError as error:
        if not str(error).startswith("egress record"):
            raise
        faults.append(str(error))
    if compared is not None:
        faults += [f"{one}: on the stream, in no row of the record" for one in compared.unrecorded]
        faults += [f"{one}: the stream has other bytes than the record" for one in compared.differing]
    if as_json:
        found = {"faults": faults, "streams": None if compared is None else compared.body()}
        sys.stdout.write(json.dumps(found, indent=1) + "\n")
    else:
        sys.stdout.write("\n".join(_lines(faults, compared, is_continued=since is not None)) + "\n")
    if faults:
        raise typer.Exit(1)


def _lines(faults: list[str], compared: Comparison | None, *, is_continued: bool) -> list[str]:
    lines = [f"FAULT  {fault}" for fault in faults]
    if not any(fault.startswith("egress record") for fault in faults):
        lines.append("ok     the chain: no row was changed, taken out or put in since the newest was written")
    if is_continued and not faults:
        lines.append("ok     the head that was kept: the record continues it")
    if compared is None:
        return [*lines, "--     streams: not asked"]
    lines.append(f"ok     {compared.seen} messages of the record stand on the streams with these very bytes")
    if compared.hidden:
        lines.append(f"--     {compared.hidden} agreements: only the coordinator can look them up")
    if compared.unseen:
        numbers = ", ".join(map(str, compared.unseen[:10]))
        lines.append(
            f"--     {len(compared.unseen)} recorded, not seen by the stream (rows {numbers}): "
            "written down, then the process ended or has not sent them yet"
        )
    if compared.is_clean:
        lines.append("ok     nothing stands on the streams under this member's name that the record does not have")
    return lines


def _rows(directory: Path) -> list[Egress]:
    from hansa.federation.store import read_egress

    return read_egress(directory / "node" / "facts.sqlite")


def _head(directory: Path) -> EgressHead:
    from hansa.federation.egress import egress_head
    from hansa.federation.node import load_node

    return egress_head(load_node(directory).kit.name, _rows(directory))


def _kept(path: Path) -> EgressHead:
    import msgspec

    from hansa.federation.egress import EgressHead

    try:
        return msgspec.json.decode(path.read_bytes(), type=EgressHead)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: expected what `hansa egress head --json` prints ({error})") from error


def _compared(directory: Path) -> Comparison:
    import asyncio

    from hansa.federation.egress import compare
    from hansa.federation.node import connect, load_node, require_role

    node = load_node(directory)
    require_role(node, "member")

    async def work() -> Comparison:
        transport = await connect(node, coordinator=False, patience_seconds=10.0)
        try:
            return await compare(transport, lambda: _rows(directory), members=len(node.constitution.members))
        finally:
            await transport.close()

    return asyncio.run(work())


def _as_json(row: Egress) -> dict[str, object]:
    return {
        "number": row.number,
        "time_ns": row.time_ns,
        "purpose": row.purpose,
        "session": row.session,
        "step": row.step,
        "bytes": row.size,
        "sha256": row.sha256.hex(),
        "budget": row.budget,
        "chain": row.chain.hex(),
    }


def _when(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns // 10**9, tz=UTC).strftime("%Y-%m-%d %H:%M:%S")
