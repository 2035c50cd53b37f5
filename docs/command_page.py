"""Hook of the site's builder: writes the commands of `hansa` into reference/cli.md from the program itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typer.main import get_command

from hansa.cli import app

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

MARK = "<!-- commands -->"


def on_page_markdown(markdown: str, **_: object) -> str:
    """Put the commands in place of the mark."""
    if MARK not in markdown:
        return markdown
    return markdown.replace(MARK, "\n".join(_pages(get_command(app), "hansa")))


def _pages(command: Any, path: str) -> Iterator[str]:  # noqa: ANN401 - a command of whichever click typer carries
    if command.hidden:
        return
    yield f"{'##' if ' ' not in path else '###'} `{path}`\n"
    yield f"{command.help or ''}\n"
    rows = [row for parameter in command.params if (row := _row(parameter))]
    if rows:
        yield from ("| option or argument | default | meaning |", "|---|---|---|", *rows, "")
    for name, inner in sorted(getattr(command, "commands", {}).items()):
        yield from _pages(inner, f"{path} {name}")


def _row(parameter: Any) -> str:  # noqa: ANN401 - likewise
    if getattr(parameter, "hidden", False) or "--help" in parameter.opts:
        return ""
    is_argument = parameter.param_type_name == "argument"
    name = (parameter.metavar or parameter.name) if is_argument else ", ".join(parameter.opts)
    default = "required" if parameter.required else parameter.default
    shown = "" if default is None or default is False or callable(default) else default
    meaning = (parameter.help or "").replace("|", "\\|")
    return f"| `{name}` | {getattr(shown, 'value', shown)} | {meaning} |"
