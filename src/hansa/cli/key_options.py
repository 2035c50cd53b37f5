"""Options that say where an identity key is; none of them takes a secret."""

from __future__ import annotations

from typing import Annotated

import typer

from hansa.errors import ConfigurationError
from hansa.identity.configuration import KeysConfiguration

PassphraseOption = Annotated[
    str,
    typer.Option(help="Where the passphrase of a key in a file comes from: file:PATH, env:NAME, fd:NUMBER, prompt."),
]
ModuleOption = Annotated[str, typer.Option(help="PKCS#11 library of the token that holds the key; empty: a file.")]
TokenOption = Annotated[str, typer.Option(help="Label of the token.")]
SlotOption = Annotated[int, typer.Option(help="Number of the token's slot; -1: by its label.")]
LabelOption = Annotated[str, typer.Option(help="Label of the key in the token.")]
PinOption = Annotated[str, typer.Option(help="Where the PIN comes from: file:PATH, env:NAME, fd:NUMBER, prompt.")]
SettingOption = Annotated[
    list[str] | None, typer.Option("--setting", help="NAME=VALUE that the library wants in the environment; repeat it.")
]


def keys_of(
    *, passphrase: str, module: str, token: str, slot: int, label: str, pin: str, settings: list[str] | None
) -> KeysConfiguration:
    """Return the settings that the options mean.

    Raises:
        ConfigurationError: One is malformed, or a token is named without a library.
    """
    if not module and (token or slot >= 0):
        raise ConfigurationError("--token or --slot: expected the token's library as --module too")
    pairs = [setting.partition("=") for setting in settings or ()]
    if not all(sign for _, sign, _ in pairs):
        raise ConfigurationError("--setting: expected NAME=VALUE")
    keys = KeysConfiguration(
        store="pkcs11" if module else "file",
        passphrase=passphrase,
        module=module,
        token=token,
        slot=slot,
        label=label,
        pin=pin,
        environment={name: value for name, _, value in pairs},
    )
    keys.check()
    return keys
