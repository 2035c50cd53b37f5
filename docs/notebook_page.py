"""Hook of the site's builder: writes the cells of a notebook into the page that names it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

MARK = re.compile(r"<!-- notebook ([\w-]+\.ipynb) -->")


def on_page_markdown(markdown: str, page: Any, **_: object) -> str:  # noqa: ANN401 - a page of the site's builder
    """Put the notebook's cells in place of the mark; its first cell is the page's own title."""
    folder = Path(page.file.abs_src_path).parent
    return MARK.sub(lambda found: "\n\n".join(_cells(folder / found[1])), markdown)


def _cells(path: Path) -> list[str]:
    cells = json.loads(path.read_text())["cells"][1:]
    texts = [(cell["cell_type"], "".join(cell["source"])) for cell in cells]
    return [f"```python\n{text}\n```" if kind == "code" else text for kind, text in texts]
