from __future__ import annotations

import re
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from hansa.federation.node import load_node
from hansa.identity.kit import make_federation

if TYPE_CHECKING:
    import pytest

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "join-a-federation.md"
MEMBERS = ("east", "north", "south")


def test_a_constitution_is_drafted_and_signed_as_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_federation(tmp_path, "baltic", MEMBERS, at=datetime.now(tz=UTC))  # noqa: TID251 - kits are valid from now
    draft, sign = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    for place, name in enumerate(MEMBERS):
        (tmp_path / "kit").unlink(missing_ok=True)
        (tmp_path / "kit").symlink_to(tmp_path / name)
        if place == 0:
            exec(compile(draft, "draft", "exec"), {})  # noqa: S102 - the page's own words
        exec(compile(sign, "sign", "exec"), {})  # noqa: S102 - the page's own words
    for name in (*MEMBERS, "coordinator"):
        shutil.copy("constitution.json", tmp_path / name)
        assert load_node(tmp_path / name).constitution.federation == "baltic"
