"""Compiles what a member computes in a set-up and in a sum before anybody waits: seconds at its very first start."""

from __future__ import annotations

import numpy as np

from hansa.crypto.encryption import add_ciphertext, decode, empty_total, encrypt, partial_decryption
from hansa.crypto.lanes import pack, unpack
from hansa.crypto.prg import add_limb_masks
from hansa.crypto.sampling import GaussianTable, add_sample
from hansa.protocol.dealing import deal, dealt_share, probe_share
from hansa.protocol.encoding import quantise
from hansa.protocol.limits import PurposeLimit


def compile_kernels() -> None:
    """Run every compiled part of a set-up and of a sum once; what is compiled is kept on disk for later processes."""
    seed = bytes(32)
    purpose = PurposeLimit(
        values=1, values_per_bar=0, exchanges=3, value_bound=1.0, scale=1, sensitivity=1.0, noise_multiplier=1.0,
        period="year", epsilon=1.0, delta=1e-6,
    )  # fmt: skip
    share = dealt_share(deal(seed, holders=("a", "b"), threshold=1).seeds["a"], b"")
    probe_share(share, seed)
    steps = quantise(np.zeros(6), purpose)
    add_sample(steps, GaussianTable.build(4.0), seed)
    for is_wide in (False, True):
        limbs = pack(steps, is_wide=is_wide)
        add_limb_masks(limbs, [(seed, False), (seed, True)])
        total = empty_total(limbs.shape[1])
        add_ciphertext(total, encrypt(limbs, secret=share, crs_seed=seed, error_seed=seed))
        masks = [(seed, True)]
        size = total.shape[1]
        add_ciphertext(total, partial_decryption(size, share=share, crs_seed=seed, flood_seed=seed, masks=masks))
        unpack(decode(total).limbs, len(steps), is_wide=is_wide)
