"""What a member's process does before anybody waits for it: it compiles, and it keeps the memory that it frees.

Compiling takes seconds at the very first start of a machine and is kept on disk. A freed vector of megabytes that goes
back to the system is paid for again, page by page, by the next upload: about 7 ms of 45 at a million values.
"""

from __future__ import annotations

import ctypes
from typing import Final

import numpy as np

from hansa.crypto.encryption import add_ciphertext, decode, empty_total, encrypt, partial_decryption
from hansa.crypto.lanes import pack, unpack
from hansa.crypto.prg import add_limb_masks
from hansa.crypto.sampling import GaussianTable, add_sample
from hansa.protocol.dealing import deal, dealt_share, probe_share
from hansa.protocol.encoding import quantise
from hansa.protocol.limits import PurposeLimit

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # parameters of mallopt(3)
_LARGEST_ON_HEAP: Final = 32 << 20  # what the GNU C library allows
_KEPT_BYTES: Final = 256 << 20


def keep_freed_memory() -> None:
    """Let blocks of up to 32 MiB come from the heap and up to 256 MiB of it stay when freed; GNU C library only."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGEST_ON_HEAP)
        mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)


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
