"""Pairwise masks bound to one manifest, and packages that let peers stand in for a member that vanishes.

`seed_ij = HKDF(K_ij, "hansa/mask/1" || manifest)`; member i adds `PRG(seed_ij)` for every j > i and subtracts it for
every j < i (names in order), mod T = 2^138 a coefficient. Over a cohort the masks cancel; the masks towards a dropped
peer stay, and are removed from the decrypted sum with the 32-byte seeds of this session that the cohort reveals.

With its upload, member i gives every peer j a package: Shamir shares (threshold = quorum) of each `seed_id`, sealed
under a key derived from `K_ij` and the manifest. If i vanishes after its upload, a quorum of the cohort combines the
shares of the seeds towards dropped peers, and of those only.

Guarantees: two members who were shown different manifests do not cancel: noise comes out, not a sum. A package opens
nothing of another session. Should every ring key leak, what is not an exact sum over the cohort stays uniform while two
honest members are in it.
Does NOT guarantee: that an upload whose seeds are out stays closed; the encryption around it does that.
Source: Bonawitz et al. 2017, section 4 (pairwise masks, recovery by shares).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hansa.crypto.agreement import decrypt, encrypt
from hansa.crypto.prg import add_limb_masks, derive
from hansa.crypto.sharing import SHARE_BYTES, Share, split_many
from hansa.errors import MessageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from jaxtyping import UInt64


def mask_seed(pair_secret: bytes, manifest: bytes) -> bytes:
    """Return the 32-byte seed that two members share in the session of `manifest` (its digest)."""
    return derive(pair_secret, b"hansa/mask/1" + manifest)


def apply_masks(limbs: UInt64[np.ndarray, "limb coefficient"], *, name: str, seeds: Mapping[str, bytes]) -> None:
    """Add, in place, the masks of member `name` towards each peer in `seeds`."""
    add_limb_masks(limbs, [(seed, peer < name) for peer, seed in seeds.items()])


def remove_orphans(
    limbs: UInt64[np.ndarray, "limb coefficient"], *, cohort_member: str, seeds: Mapping[str, bytes]
) -> None:
    """Take out, in place, the masks that `cohort_member` had added towards the dropped peers in `seeds`."""
    add_limb_masks(limbs, [(seed, dropped > cohort_member) for dropped, seed in seeds.items()])


def recovery_packages(
    *,
    name: str,
    participants: Sequence[str],
    pair_secrets: Mapping[str, bytes],
    seeds: Mapping[str, bytes],
    manifest: bytes,
    threshold: int,
    entropy: bytes,
) -> dict[str, bytes]:
    """Return, for each peer, its sealed shares of this member's mask seeds.

    Args:
        name: This member.
        participants: All names of the manifest, in order; a member's x coordinate is its place, from 1.
        pair_secrets: `K_ij` by peer.
        seeds: The session's mask seeds by peer.
        manifest: Digest of the manifest.
        threshold: Shares that open a seed; with fewer peers than that there are no packages, for then the smallest
            cohort is everybody and no mask is left over.
        entropy: 32 secret bytes, used for this manifest only.
    """
    peers = [peer for peer in participants if peer != name]
    if len(peers) < threshold:
        return {}
    holders = [participants.index(peer) + 1 for peer in peers]
    columns = split_many([seeds[peer] for peer in peers], threshold=threshold, holders=holders, entropy=entropy)
    packages = {}
    for place, peer in enumerate(peers):
        plaintext = b"".join(column[place].encode() for column in columns)
        key = _package_key(pair_secrets[peer], manifest, sender=name, receiver=peer)
        packages[peer] = encrypt(key, plaintext, associated=manifest)
    return packages


def open_package(
    sealed: bytes,
    *,
    sender: str,
    receiver: str,
    participants: Sequence[str],
    pair_secret: bytes,
    manifest: bytes,
) -> dict[str, Share]:
    """Return the receiver's shares of the sender's mask seeds, by the peer the seed is shared with.

    Raises:
        IdentityError: The package was not sealed by that sender for that receiver and manifest.
        MessageError: Its length is wrong.
    """
    key = _package_key(pair_secret, manifest, sender=sender, receiver=receiver)
    plaintext = decrypt(key, sealed, associated=manifest)
    peers = [peer for peer in participants if peer != sender]
    if len(plaintext) != SHARE_BYTES * len(peers):
        raise MessageError(f"recovery package of {sender}: expected {SHARE_BYTES * len(peers)} bytes")
    return {
        peer: Share.decode(plaintext[SHARE_BYTES * place : SHARE_BYTES * (place + 1)])
        for place, peer in enumerate(peers)
    }


def _package_key(pair_secret: bytes, manifest: bytes, *, sender: str, receiver: str) -> bytes:
    return derive(pair_secret, b"hansa/recovery/1" + manifest + sender.encode() + b"|" + receiver.encode())
