"""Seeds of the masks that a cohort's members share with dropped peers: revealed, or combined from shares.

Every seed has a commitment (its SHA-256) in the upload of the member that used it. A member reveals its own seeds; for
one that vanished, a quorum's shares are combined, and the result must fit the commitment.

Guarantees: a seed that does not fit is refused, and the one who gave it is named; wrong shares of fewer members than
`shares - quorum` only delay.
"""

from __future__ import annotations

import hashlib
import itertools
from typing import TYPE_CHECKING, Final

from hansa.crypto.sharing import Share, combine
from hansa.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hansa.protocol.messages import Manifest

MAX_COMBINATIONS: Final = 500


class SeedRecovery:
    """What a coordinator knows of one session's seeds.

    Args:
        manifest: The session's manifest.
        quorum: Shares that make a seed.
    """

    def __init__(self, manifest: Manifest, quorum: int) -> None:
        self.seeds: dict[str, dict[str, bytes]] = {}
        self._manifest = manifest
        self._quorum = quorum
        self._members: Sequence[str] = ()
        self._dropped: Sequence[str] = ()
        self._commitments: dict[str, Mapping[str, bytes]] = {}
        self._shares: dict[tuple[str, str], dict[str, Share]] = {}

    def commit(self, name: str, commitments: Mapping[str, bytes]) -> None:
        """Note the commitments of a member's upload."""
        self._commitments[name] = commitments

    def fix(self, members: Sequence[str]) -> None:
        """Note the cohort: whoever else takes part has dropped."""
        self._members = members
        self._dropped = [name for name in self._manifest.participants if name not in members]

    def reveal(self, name: str, seeds: Mapping[str, bytes]) -> None:
        """Take the seeds that a cohort member reveals.

        Raises:
            ProtocolError: They are not for exactly the dropped peers, or one does not fit the member's commitment.
        """
        if set(seeds) != set(self._dropped):
            raise ProtocolError(f"{self._manifest.session}: the opening of {name} is not for the dropped peers")
        for peer, seed in seeds.items():
            if not self._fits(name, peer, seed):
                raise ProtocolError(
                    f"{self._manifest.session}: the seed of {name} towards {peer} does not fit the commitment of {name}"
                )
        if seeds:
            self.seeds[name] = dict(seeds)

    def missing(self) -> tuple[str, ...]:
        """Return the cohort members whose seeds towards dropped peers are not here."""
        return tuple(name for name in self._members if name not in self.seeds) if self._dropped else ()

    def add_shares(self, sender: str, shares: Mapping[str, Mapping[str, bytes]]) -> None:
        """Take a member's shares of vanished members' seeds; combine what can be combined.

        Raises:
            ProtocolError: Shares for a peer that did not drop, of a member outside the cohort, or of another holder.
        """
        place = self._manifest.participants.index(sender) + 1
        for vanished, towards in shares.items():
            if vanished not in self._members or set(towards) != set(self._dropped):
                raise ProtocolError(f"{self._manifest.session}: shares of {sender} are not for the dropped peers")
            for peer, data in towards.items():
                share = Share.decode(data)
                if share.x != place:
                    raise ProtocolError(f"{self._manifest.session}: {sender} gave the share of another member")
                self._shares.setdefault((vanished, peer), {})[sender] = share
        for vanished in self.missing():
            found = {peer: self._combined(vanished, peer) for peer in self._dropped}
            seeds = {peer: seed for peer, seed in found.items() if seed is not None}
            if len(seeds) == len(found):
                self.seeds[vanished] = seeds

    def _combined(self, vanished: str, peer: str) -> bytes | None:
        """Return the seed that fits the commitment from any quorum of the shares: a wrong share only delays it."""
        shares = self._shares.get((vanished, peer), {}).values()
        for chosen in itertools.islice(itertools.combinations(shares, self._quorum), MAX_COMBINATIONS):
            try:
                seed = combine(chosen, threshold=self._quorum)
            except ProtocolError:
                continue
            if self._fits(vanished, peer, seed):
                return seed
        return None

    def _fits(self, name: str, peer: str, seed: bytes) -> bool:
        return hashlib.sha256(seed).digest() == self._commitments.get(name, {}).get(peer)
