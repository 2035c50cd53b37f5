"""What a signature and its check cost: Ed25519 in memory, P-256 in a SoftHSM token where that is installed.

Run: python benchmarks/signatures.py
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from hansa.crypto.signature import SigningKey, parse_public, verify
from hansa.errors import IdentityError
from hansa.identity.keys import create_signer
from hansa.identity.softhsm import make_store, make_token

if TYPE_CHECKING:
    from collections.abc import Callable

    from hansa.crypto.signature import Signer

REPEATS = 1000


def microseconds(act: Callable[[int], object]) -> float:
    """Return the median of the time of one call."""
    took = []
    for place in range(REPEATS):
        begun = time.perf_counter()
        act(place)
        took.append(time.perf_counter() - begun)
    return statistics.median(took) * 1e6


def line(name: str, signer: Signer) -> None:
    """Print both times of one kind of key."""
    public = parse_public(signer.public)
    signatures = [signer.sign("type", place.to_bytes(32, "big")) for place in range(REPEATS)]
    signing = microseconds(lambda place: signer.sign("type", (REPEATS + place).to_bytes(32, "big")))
    checking = microseconds(lambda place: verify(public, "type", place.to_bytes(32, "big"), signatures[place]))
    print(f"{name:20} sign {signing:7.1f} us   verify {checking:7.1f} us")


def main() -> None:
    """Measure."""
    line("Ed25519, in memory", SigningKey.generate())
    with tempfile.TemporaryDirectory() as folder:
        try:
            keys = make_token(make_store(Path(folder) / "store"), "bench", Path(folder) / "token.pin")
        except IdentityError as error:
            print(f"left out: {error}")
            return
        line("P-256, in SoftHSM", create_signer(Path(folder), keys))


if __name__ == "__main__":
    main()
