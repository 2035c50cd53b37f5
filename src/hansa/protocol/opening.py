"""Which sums a member helps to open: the checks of a cohort and of a call, and the partial decryption itself.

A member answers a call for one cohort of a manifest only. In a session of three exchanges it wants the signatures of a
quorum on that cohort first. In one of two exchanges its answer is its vote: a sum needs `t = max(c + 1, quorum)`
decryptors, two sets of t share an honest member, and an honest member answers for one cohort, so no two cohorts of one
manifest are both opened. What a coordinator gains by showing two cohorts is seeds of masks towards the peers that it
called dropped, for a session that then dies unopened: the encryption still needs t decryptors of one cohort.

```
partial_j = round((-a * lambda_j * sum over U of s_k[j] + flood) / P) + sum over the other decryptors k of +-w_jk
w_jk      = opening mask of seed HKDF(K_jk, manifest, call): j adds it if j < k, else subtracts it
flood     = randomness HKDF(noise key, manifest, call)
a         = XOF(epoch_id || manifest): nobody hands a member anything to decrypt
```

The same call has the same bytes after a restart, another call fresh flood and fresh `w`. Over the t decryptors of a
call the `w` cancel. They make each answer uniform, so a call shows `a * sum of s_k + flood` and nothing of one share:
without them, answers of one decryptor to two calls are `lambda a S + flood` and `lambda' a S + flood'`, from which a
two-dimensional lattice gives S exactly once `lambda / lambda'` has no small numerator and denominator.

Guarantees: fewer than t answers for one cohort say nothing about it; t answers to one call open the sum and bound what
else they tell by the flood of the honest ones; at most `reopenings + 1` calls are answered.
Source: PROTOCOL steps 2 and 3; Shamir 1979; Boneh et al. 2018, section 5 (flooding of partial decryptions).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from hansa.crypto.encryption import partial_decryption
from hansa.crypto.key_sharing import lagrange_weights
from hansa.crypto.prg import derive
from hansa.errors import RefusedError
from hansa.protocol.messages import Agreement, Call, Cohort, Manifest, claimed_sender, encode, open_envelope

if TYPE_CHECKING:
    from hansa.protocol.epoch import EpochKeys
    from hansa.protocol.limits import Limits


def crs_seed(manifest: Manifest) -> bytes:
    """Return the public seed of a session's ring elements: nobody chooses the epoch id in it."""
    return hashlib.sha256(b"hansa/crs/1" + manifest.epoch_id + manifest.digest()).digest()


def check_cohort(cohort: Cohort, manifest: Manifest, limits: Limits) -> None:
    """Refuse a cohort that no member of the session may help to open.

    Raises:
        RefusedError: Names are out of order, repeated or no participants, or too few.
    """
    names = cohort.members
    if list(names) != sorted(set(names)) or not set(names) <= set(manifest.participants):
        raise RefusedError(f"cohort of {manifest.session}: expected participants in order, none twice")
    if len(names) < limits.minimum_cohort or len(cohort.uploads) != len(names):
        raise RefusedError(
            f"cohort of {manifest.session}: expected at least {limits.minimum_cohort} members "
            f"and one hash each; got {len(names)} members, {len(cohort.uploads)} hashes"
        )


def check_call(call: Call, *, cohort: Cohort, limits: Limits, exchanges: int) -> None:
    """Refuse a call that does not name t decryptors of the cohort, or a first one without the certificate it needs.

    Raises:
        RefusedError: The clause that does not hold.
    """
    clauses = {
        "the cohort that was published": call.root == cohort.root(),
        f"a number from 0 to {limits.reopenings}": 0 <= call.number <= limits.reopenings,
        f"{limits.threshold} decryptors of the cohort, in order, none twice": list(call.decryptors)
        == sorted(set(call.decryptors))
        and len(call.decryptors) == limits.threshold
        and set(call.decryptors) <= set(cohort.members),
    }
    for clause, holds in clauses.items():
        if not holds:
            raise RefusedError(f"call: expected {clause}")
    if call.number == 0 and exchanges == 3:
        check_certificate(call.agreements, cohort=cohort, limits=limits)
    elif call.agreements:
        raise RefusedError("call: signatures on the cohort belong into the first call of three exchanges alone")
    if bool(call.checkpoint) != (call.number == 0 and limits.cosignatures > 0):
        raise RefusedError("call: a cosigned checkpoint belongs into every first call, where the constitution asks it")


def check_certificate(agreements: tuple[bytes, ...], *, cohort: Cohort, limits: Limits) -> None:
    """Refuse signatures that are not those of a quorum of distinct cohort members on this cohort.

    Raises:
        RefusedError: Too few valid signatures, or more than the cohort has members.
    """
    root = cohort.root()
    if len(agreements) > len(cohort.members):
        raise RefusedError("certificate: more signatures than the cohort has members")
    signers = set()
    for body in agreements:
        signer = claimed_sender(body)
        if signer not in cohort.members:
            raise RefusedError(f"certificate: a signature of {signer[:40]}, who is not in the cohort")
        agreement = open_envelope(body, Agreement, sender=signer, key=limits.keys[signer])
        if (agreement.manifest, agreement.root) == (cohort.manifest, root):
            signers.add(signer)
    if len(signers) < limits.quorum:
        raise RefusedError(f"certificate: expected {limits.quorum} members of the cohort, got {len(signers)}")


def partial(name: str, *, manifest: Manifest, cohort: Cohort, call: Call, keys: EpochKeys, coefficients: int) -> bytes:
    """Return member `name`'s partial decryption of the cohort's sum, blinded and flooded, for this call's decryptors.

    Args:
        name: One of the decryptors.
        manifest: The session's manifest.
        cohort: The cohort that was agreed to, checked.
        call: The call, checked.
        keys: The member's keys of the epoch.
        coefficients: Coefficients of the session's ciphertexts.
    """
    digest, call_digest = manifest.digest(), hashlib.sha256(encode(call)).digest()
    holders = [keys.members.index(decryptor) + 1 for decryptor in call.decryptors]
    weight = lagrange_weights(holders, keys.members.index(name) + 1)
    masks = [
        (derive(keys.pair_secrets[peer], b"hansa/opening-mask/1" + digest + call_digest), peer < name)
        for peer in call.decryptors
        if peer != name
    ]
    flood = derive(keys.noise_key, b"hansa/flood/1" + digest + call_digest)
    return partial_decryption(
        coefficients,
        share=keys.share_of(cohort.members),
        weight=weight,
        crs_seed=crs_seed(manifest),
        flood_seed=flood,
        masks=masks,
    )
