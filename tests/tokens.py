"""A SoftHSM store for tests: one a process, because the library reads its configuration once.

Without SoftHSM these tests are skipped and say so, except where HANSA_REQUIRE_SOFTHSM is set: there they fail.
"""

from __future__ import annotations

import os
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pkcs11
import pytest

from hansa.errors import IdentityError
from hansa.identity.softhsm import VARIABLE, find_module, make_store, make_token

if TYPE_CHECKING:
    from hansa.identity.configuration import KeysConfiguration


def require_softhsm() -> str:
    """Return the library's path; skip, or fail where it is required."""
    try:
        return find_module()
    except IdentityError as error:
        if os.environ.get("HANSA_REQUIRE_SOFTHSM"):
            pytest.fail(str(error))
        pytest.skip(str(error))


@cache
def store() -> Path:
    """Return the configuration of this process's store."""
    return make_store(Path(tempfile.mkdtemp(prefix="softhsm-")))


def token(folder: Path, label: str) -> KeysConfiguration:
    """Return the settings of a new token, whose PIN file is in `folder`."""
    require_softhsm()
    folder.mkdir(parents=True, exist_ok=True)
    return make_token(store(), label, folder / "token.pin")


def restore_store(configuration: str | None) -> None:
    """Let this process use the store of before again, after something else has made one."""
    if configuration is None:
        os.environ.pop(VARIABLE, None)
        return
    os.environ[VARIABLE] = configuration
    pkcs11.lib(find_module()).reinitialize()
