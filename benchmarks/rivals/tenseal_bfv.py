"""TenSEAL's BFV with one key: what a member's encrypted vector weighs and how long it takes, one core.

Runs in TenSEAL's own environment. One key pair for all: whoever has the secret key opens every member's vector, not the
sum alone; nobody has to consent. Measured: encrypt and serialise a member's vector (slots of a batch of `degree`), read
the ciphertexts of all members and add them, decrypt the sum and compare it with the true one.

The plain modulus is the least prime of at least 20 bits that batches (congruent to 1 modulo twice the degree) and holds
the sums of five 16-bit vectors. TenSEAL compresses what it serialises, with its default.

Prints one JSON object.

Run: python tenseal_bfv.py --vectors DIR --members 5 --degree 8192
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import time
from pathlib import Path

import numpy as np
import tenseal as ts

MINIMUM_MODULUS = 2**20


def batching_modulus(degree: int) -> int:
    """Return the least prime above 2^20 that is 1 modulo twice the degree."""
    step = 2 * degree
    candidate = MINIMUM_MODULUS + 1
    while any(candidate % divisor == 0 for divisor in range(3, int(candidate**0.5) + 1, 2)):
        candidate += step
    return candidate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vectors", type=Path, required=True, help="folder of member-N.npy and expected.npy")
    parser.add_argument("--members", type=int, default=5)
    parser.add_argument("--degree", type=int, default=8192)
    parser.add_argument("--repeats", type=int, default=3, help="of the encryption; the least counts")
    chosen = parser.parse_args()
    modulus = batching_modulus(chosen.degree)
    context = ts.context(ts.SCHEME_TYPE.BFV, poly_modulus_degree=chosen.degree, plain_modulus=modulus, n_threads=1)
    vectors = [np.load(chosen.vectors / f"member-{number}.npy").tolist() for number in range(chosen.members)]

    def upload(vector: list[int]) -> list[bytes]:
        size = chosen.degree
        return [ts.bfv_vector(context, vector[at : at + size]).serialize() for at in range(0, len(vector), size)]

    encrypt_seconds = []
    for _ in range(chosen.repeats):
        begin = time.perf_counter()
        first = upload(vectors[0])
        encrypt_seconds.append(time.perf_counter() - begin)
    uploads = [first, *(upload(vector) for vector in vectors[1:])]

    begin = time.perf_counter()
    sums = [ts.bfv_vector_from(context, one) for one in uploads[0]]
    for other in uploads[1:]:
        for place, one in enumerate(other):
            sums[place] += ts.bfv_vector_from(context, one)
    added = time.perf_counter()
    opened = np.concatenate([np.array(one.decrypt(), dtype=np.int64) for one in sums])
    decrypted = time.perf_counter()

    centred = np.where(opened > modulus // 2, opened - modulus, opened)
    exact = bool(np.array_equal(centred, np.load(chosen.vectors / "expected.npy")))
    print(
        json.dumps(
            {
                "version": importlib.metadata.version("tenseal"),
                "degree": chosen.degree,
                "plain_modulus": modulus,
                "encrypt_seconds": encrypt_seconds,
                "add_seconds": added - begin,
                "decrypt_seconds": decrypted - added,
                "upload_bytes": sum(map(len, first)),
                "exact": exact,
            }
        )
    )


if __name__ == "__main__":
    main()
