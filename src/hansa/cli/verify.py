"""`hansa verify`: check an evidence bundle offline. The verifier is `hansa.audit.verify`, which can be had alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def verify(
    bundle: Annotated[Path, typer.Argument(help="The bundle.", metavar="BUNDLE")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    constitution: Annotated[str, typer.Option(help="Refuse unless the rules have this digest.")] = "",
    is_self_test: Annotated[
        bool, typer.Option("--self-test", help="Change the bundle in many ways; each change must be refused.")
    ] = False,
) -> None:
    """Say what an evidence bundle proves; exit code 1 if a check does not hold, 2 if it is no bundle."""
    from hansa.audit.verify import main

    options = [*(["--json"] if as_json else []), *(["--self-test"] if is_self_test else [])]
    raise typer.Exit(main([str(bundle), "--constitution", constitution, *options]))
