"""Another identity key for a node: made beside the one in use, and put in its place when the federation has agreed.

`begin_rotation` makes the folder `next/` of a kit: settings, the new key (in the same folder or the same token) and its
`request.json`. The federation goes on with the old key. When authority and members have answered, `next/` holds
`identity.crt`, `authority.crt`, `roster.json` and `constitution.json`; `adopt_rotation` checks that they fit and moves
them into the kit. The old key stays as `identity.old-<number>.key`, or in its token, until somebody removes it.

Guarantees: the noise on the member's own volumes goes on as before; adopting is finished by doing it again after it was
cut short at any instant; nothing is moved before the new kit loads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from hansa.errors import IdentityError
from hansa.identity import tls
from hansa.identity.configuration import NodeConfiguration
from hansa.identity.files import read_file, write_file, write_secret
from hansa.identity.keys import KEY_FILE, create_signer, open_signer
from hansa.identity.kit import VOLUME_FILE, Kit, Request, volume_key, write_request

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable
    from pathlib import Path

    from hansa.crypto.signature import Signer
    from hansa.identity.configuration import KeysConfiguration

NEXT: Final = "next"
_MARK: Final = "adopting"  # in `next/`: all has been checked, only moving is left
_MOVED: Final = (
    "identity.crt",
    "authority.crt",
    "constitution.json",
    "request.json",
    "rotation.json",
    KEY_FILE,
    "roster.json",
)


def begin_rotation(directory: Path, keys: KeysConfiguration) -> Signer:
    """Make the next identity key and `next/` around it; return the key.

    Args:
        directory: The kit's folder.
        keys: Where the next key shall be; relative paths begin at the kit's folder when it has been adopted.

    Raises:
        IdentityError: A rotation is under way already, or the key cannot be made.
    """
    new = directory / NEXT
    if new.exists():
        raise IdentityError(f"{new}: a rotation is under way; finish it with `hansa keys adopt`, or remove the folder")
    configuration = NodeConfiguration.from_toml(read_file(directory / "hansa.toml").decode(errors="replace"))
    before = Request.from_bytes(read_file(directory / "request.json"))
    inner = _from_next(keys)
    new.mkdir(mode=0o700)
    try:
        signer = create_signer(new, inner)
    except BaseException:
        new.rmdir()  # nothing was made in it
        raise
    following = msgspec.structs.replace(configuration, keys=inner)
    write_file(new / "hansa.toml", following.to_toml().encode())
    write_request(
        new,
        following,
        signer,
        legal_name=before.legal_name,
        lei=before.lei or "",
        recovery_key=before.recovery_key or "",
    )
    return signer


def adopt_rotation(directory: Path, *, at: dt.datetime, is_lost: bool = False) -> None:
    """Put the next key in the place of the old.

    Args:
        directory: The kit's folder; the node must not run.
        at: The time now, with a time zone.
        is_lost: Whether the old key cannot be opened any more: the noise on volumes then begins anew.

    Raises:
        IdentityError: No rotation is under way, an answer is missing, or the new kit or the old key does not load.
    """
    new = directory / NEXT
    if not new.is_dir():
        raise IdentityError(f"{new}: no rotation is under way; begin one with `hansa keys rotate`")
    if not (new / _MARK).exists():
        if not (new / "constitution.json").is_file():
            raise IdentityError(f"{new}: no constitution.json that names the new key; all members sign it first")
        kit = Kit.load(new, at=at)
        if not is_lost:
            _keep_volume_key(directory)
        write_file(new / _MARK, kit.configuration.keys.store.encode())
    _move_in(directory)


def _move_in(directory: Path) -> None:
    """Move what is in `next/` into the kit; what has been moved stays moved."""
    new = directory / NEXT
    _set_aside(directory)
    for name in _MOVED:
        if (new / name).exists():
            (new / name).replace(directory / name)
    if (new / "hansa.toml").exists():
        following = NodeConfiguration.from_toml(read_file(new / "hansa.toml").decode(errors="replace"))
        moved = msgspec.structs.replace(following, keys=_from_kit(following.keys))
        write_file(directory / "hansa.toml", moved.to_toml().encode())
        (new / "hansa.toml").unlink()
    for name in (tls.CERTIFICATE_FILE, tls.KEY_FILE):
        (directory / name).unlink(missing_ok=True)  # of the old key: made anew when the node starts
        (new / name).unlink(missing_ok=True)
    for path in new.iterdir():
        if path.name != _MARK:
            path.replace(directory / path.name)
    (new / _MARK).unlink()
    new.rmdir()


def _set_aside(directory: Path) -> None:
    """Rename the old key, once: the new one still waits in `next/`, or is in a token."""
    old, new = directory / KEY_FILE, directory / NEXT
    if old.exists() and ((new / KEY_FILE).exists() or read_file(new / _MARK) == b"pkcs11"):
        number = 1 + len(list(directory.glob("identity.old-*.key")))
        old.replace(directory / f"identity.old-{number}.key")


def _keep_volume_key(directory: Path) -> None:
    """Write down what the noise on volumes comes from, before the key from which it follows is set aside."""
    configuration = NodeConfiguration.from_toml(read_file(directory / "hansa.toml").decode(errors="replace"))
    if not (directory / VOLUME_FILE).exists():
        key = volume_key(directory, open_signer(directory, configuration.keys))
        if not (directory / VOLUME_FILE).exists():
            write_secret(directory / VOLUME_FILE, key)


def _from_next(keys: KeysConfiguration) -> KeysConfiguration:
    """Return settings whose relative files are found from `next/`."""
    return _moved(keys, lambda place: place if place.startswith("/") else f"../{place}")


def _from_kit(keys: KeysConfiguration) -> KeysConfiguration:
    return _moved(keys, lambda place: place.removeprefix("../"))


def _moved(keys: KeysConfiguration, move: Callable[[str], str]) -> KeysConfiguration:
    sources = {}
    for name in ("passphrase", "pin"):
        kind, sign, place = getattr(keys, name).partition(":")
        sources[name] = f"{kind}{sign}{move(place)}" if kind == "file" else f"{kind}{sign}{place}"
    return msgspec.structs.replace(keys, **sources)
