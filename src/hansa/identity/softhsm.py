"""Tokens in software, by SoftHSM: what a demonstration and the tests have in the place of hardware.

SoftHSM behaves as an HSM does behind PKCS#11, and protects nothing: its tokens are files, encrypted under the PIN.

Guarantees: store and configuration are readable by their owner alone; no PIN is an argument of a process.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Final

import pkcs11

from hansa.errors import IdentityError
from hansa.identity.configuration import KeysConfiguration
from hansa.identity.files import write_file, write_secret
from hansa.identity.key_file import generate_passphrase

MODULES: Final = (
    "/usr/lib/softhsm/libsofthsm2.so",  # Debian, Ubuntu
    "/usr/lib64/pkcs11/libsofthsm2.so",  # Fedora, RHEL
    "/usr/lib/pkcs11/libsofthsm2.so",  # Arch
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
)
WAY_OUT: Final = "install it (Debian: apt-get install softhsm2), or name its library in the variable SOFTHSM2_MODULE"
VARIABLE: Final = "SOFTHSM2_CONF"


def find_module() -> str:
    """Return the path of SoftHSM's library.

    Raises:
        IdentityError: It is not installed.
    """
    named = os.environ.get("SOFTHSM2_MODULE")
    for path in (named,) if named else MODULES:
        if Path(path).is_file():
            return path
    raise IdentityError(f"SoftHSM is not at {named or ', '.join(MODULES)}; {WAY_OUT}")


def make_store(directory: Path) -> Path:
    """Make an empty store of tokens, let this process and its children use it, and return its configuration file.

    Raises:
        IdentityError: SoftHSM is not installed, or refuses.
    """
    module = find_module()
    tokens = directory.resolve() / "tokens"
    tokens.mkdir(parents=True, mode=0o700)
    configuration = directory.resolve() / "softhsm2.conf"
    text = f"directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n"
    write_file(configuration, text.encode())
    os.environ[VARIABLE] = str(configuration)
    try:
        pkcs11.lib(module).reinitialize()  # it reads its configuration when it is initialised
    except pkcs11.PKCS11Error as error:
        raise IdentityError(f"SoftHSM: it does not start with {configuration} ({type(error).__name__})") from error
    return configuration


def make_token(configuration: Path, label: str, pin_file: Path) -> KeysConfiguration:
    """Make a token with a new random PIN in a file, 0600, and return the settings of a node that uses it.

    Args:
        configuration: Of the store, from `make_store`.
        label: Of the token, up to 32 characters.
        pin_file: In the node's folder.

    Raises:
        IdentityError: SoftHSM refuses, or the PIN file exists.
    """
    module = find_module()
    pin, officer = generate_passphrase(), generate_passphrase()
    library = pkcs11.lib(module)
    try:
        slot = next(
            one for one in library.get_slots() if not one.get_token().flags & pkcs11.TokenFlag.TOKEN_INITIALIZED
        )
        # python-pkcs11 has no C_InitToken: the same library, already initialised by it, is called by hand.
        initialise = ctypes.CDLL(module).C_InitToken
        initialise.argtypes = (ctypes.c_ulong, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)
        initialise.restype = ctypes.c_ulong
        code = initialise(slot.slot_id, officer.encode(), len(officer), label.encode().ljust(32))
        if code:
            raise IdentityError(f"SoftHSM: C_InitToken of {label!r} failed with {code:#x}")
        library.reinitialize()
        with library.get_token(token_label=label).open(rw=True, so_pin=officer) as session:
            session.init_pin(pin)
    except (pkcs11.PKCS11Error, StopIteration) as error:
        raise IdentityError(f"SoftHSM: token {label!r} cannot be made ({type(error).__name__})") from error
    write_secret(pin_file, pin.encode() + b"\n")
    return KeysConfiguration(
        store="pkcs11",
        module=module,
        token=label,
        pin=f"file:{pin_file.name}",
        environment={VARIABLE: str(configuration)},
    )
