"""A node's identity key as `hansa.toml` describes it: a file, or a token behind PKCS#11.

Guarantees: whatever the key is, the rest of the program sees a `Signer`; neither passphrase nor PIN is kept in a file
that this module writes, except where `passphrase_file` is asked to make one.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from hansa.crypto.signature import SigningKey
from hansa.errors import ConfigurationError, IdentityError
from hansa.identity.files import write_secret
from hansa.identity.key_file import COST_CHOSEN, generate_passphrase, read_key, write_key
from hansa.identity.passphrase import read_passphrase

if TYPE_CHECKING:
    from pathlib import Path

    from hansa.crypto.signature import Signer
    from hansa.identity.configuration import KeysConfiguration
    from hansa.identity.hsm import TokenPlace

KEY_FILE: Final = "identity.key"
PASSPHRASE_FILE: Final = "identity.passphrase"  # noqa: S105 - the name of a file


def open_signer(directory: Path, keys: KeysConfiguration) -> Signer:
    """Open a node's identity key.

    Args:
        directory: The kit's folder.
        keys: Its settings.

    Raises:
        IdentityError: File, passphrase, library, token, PIN or key is missing or wrong.
    """
    if keys.store == "file":
        return read_key(directory / KEY_FILE, source=keys.passphrase)
    from hansa.identity.hsm import open_key  # noqa: PLC0415  the vendor's world is loaded where it is wanted

    return open_key(token_place(directory, keys), keys.label)


def create_signer(directory: Path, keys: KeysConfiguration) -> Signer:
    """Make a node's identity key where its settings say, and open it.

    Raises:
        IdentityError: There is one already, or as `open_signer`.
    """
    if keys.store == "pkcs11":
        from hansa.identity.hsm import create_key  # noqa: PLC0415

        return create_key(token_place(directory, keys), keys.label)
    key = SigningKey.generate()
    store_key(directory, keys, key)
    return key


def list_signers(directory: Path, keys: KeysConfiguration) -> list[dict[str, str | bool]]:
    """Return the keys that are where the settings say: label, public key and whether the private one can leave.

    Raises:
        IdentityError: As `open_signer`.
    """
    if keys.store == "pkcs11":
        from hansa.identity.hsm import list_keys  # noqa: PLC0415

        return list_keys(token_place(directory, keys))
    files = sorted(directory.glob("identity*.key"))
    return [
        {"label": path.name, "public": read_key(path, source=keys.passphrase).public, "extractable": True}
        for path in files
    ]


def attributes_of(signer: Signer) -> dict[str, str | bool]:
    """Return what the token of a key says of itself and of the key; nothing of a key in a file.

    Raises:
        IdentityError: The token is gone, or does not say.
    """
    from hansa.identity.hsm import HardwareKey  # noqa: PLC0415

    return signer.attributes() if isinstance(signer, HardwareKey) else {}


def store_key(directory: Path, keys: KeysConfiguration, key: SigningKey, *, cost: int = COST_CHOSEN) -> None:
    """Write a software key, encrypted under the passphrase that the settings name.

    Raises:
        IdentityError: There is a key already, or the passphrase is missing or short.
    """
    if (directory / KEY_FILE).exists():  # said before anybody is asked for a passphrase
        raise IdentityError(f"{directory / KEY_FILE}: exists; a key is never overwritten: choose another folder")
    passphrase = read_passphrase(keys.passphrase, directory=directory, what="new passphrase", is_new=True)
    write_key(directory / KEY_FILE, key, passphrase=passphrase, cost=cost)


def make_passphrase_file(directory: Path) -> str:
    """Write a random passphrase beside the key, 0600, and return its source: for demonstrations and tests.

    Whoever copies the folder has key and passphrase: move the file elsewhere to gain anything by it.
    """
    write_secret(directory / PASSPHRASE_FILE, generate_passphrase().encode() + b"\n")
    return f"file:{PASSPHRASE_FILE}"


def token_place(directory: Path, keys: KeysConfiguration) -> TokenPlace:
    """Return which token the settings mean; what a vendor's library wants in the environment is set first.

    Raises:
        ConfigurationError: The settings do not name a library and a token.
    """
    from hansa.identity.hsm import TokenPlace  # noqa: PLC0415

    if not keys.module or (not keys.token and keys.slot < 0):
        raise ConfigurationError("hansa.toml: keys: expected module (a path) and token (a label) or slot (a number)")
    for name, value in keys.environment.items():
        os.environ.setdefault(name, value)
    name = keys.token or f"slot {keys.slot}"

    def pin() -> str:
        return read_passphrase(keys.pin, directory=directory, what=f"PIN of token {name}")

    return TokenPlace(keys.module, keys.token, keys.slot, pin, is_asked=keys.pin == "prompt")
