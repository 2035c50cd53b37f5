"""What an epoch's set-up costs: bytes on the board and by post, CPU seconds of a member and of the judgement.

One process plays every member of a list; the seconds of one member are taken from its own calls alone. The constitution
is that of `n` members with as many colluders as it may have. Every key is checked: each member ends with keys.

Run: python benchmarks/epoch_setup.py [--members 5 10 50]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from typing import TYPE_CHECKING

from hansa.crypto.signature import SigningKey
from hansa.protocol.attempt import Attempt
from hansa.protocol.dealing import deal
from hansa.protocol.epoch import MemberEpoch
from hansa.protocol.limits import Limits
from hansa.protocol.messages import Epoch, seal_envelope

if TYPE_CHECKING:
    from hansa.protocol.epoch import Outgoing

COORDINATOR = "coordinator"
EPOCH = "e1-abababababab"


class Facts(dict[str, bytes]):
    """Facts in memory."""

    def fact(self, key: str) -> bytes | None:
        """Return a fact, or None."""
        return self.get(key)

    def remember(self, key: str, value: bytes) -> None:
        """Keep a fact."""
        self[key] = value


def signing_key(name: str) -> SigningKey:
    """Return a member's fixed identity key."""
    return SigningKey.from_bytes(hashlib.sha256(name.encode()).digest())


def constitution(members: int) -> Limits:
    """Return the limits of so many members."""
    names = tuple(f"m{place:02d}" for place in range(members))
    colluders = (members - 1) // 3
    quorum = (members + colluders) // 2 + 1
    keys = {name: signing_key(name).public for name in (*names, COORDINATOR)}
    return Limits(
        federation="bench", constitution="ab" * 32, coordinator=COORDINATOR, keys=keys, members=names,
        colluders=colluders, quorum=quorum, minimum_cohort=quorum, attempts=1, reopenings=0, bar_ns=1, purposes={},
        setup_ns=1, upload_ns=1, agree_ns=1, open_ns=1,
    )  # fmt: skip


class Federation:
    """Every member in one process, and the CPU seconds of the first and the last by step."""

    def __init__(self, rules: Limits) -> None:
        self.rules = rules
        self.seconds: dict[str, dict[str, float]] = {rules.members[0]: {}, rules.members[-1]: {}}
        self.board: list[tuple[str, str, str, bytes]] = []
        self.post: dict[tuple[str, str], bytes] = {}
        self.members = {name: self.member(name) for name in rules.members}

    def member(self, name: str) -> MemberEpoch:
        """Return a member's side."""
        entropy = hashlib.shake_256(name.encode()).digest
        return MemberEpoch(
            name, epoch=EPOCH, limits=self.rules, signer=signing_key(name), facts=Facts(), entropy=entropy
        )

    def say(self, sender: str, outgoing: list[Outgoing]) -> None:
        """Publish."""
        for session, step, body in outgoing:
            if step == "deal":
                self.post[session, sender] = body
            else:
                self.board.append((session, step, sender, body))

    def run(self) -> None:
        """Set the epoch up."""
        for name, member in self.members.items():
            self.say(name, [("setup-0", "setup", member.setup_message())])
        hashes = tuple(hashlib.sha256(body).digest() for *_, body in self.board)
        listing = Epoch(EPOCH, self.rules.members, hashes)
        listed = seal_envelope(listing, sender=COORDINATOR, signer=signing_key(COORDINATOR))
        read = 0
        self.say(COORDINATOR, [("setup-1", "epoch", listed)])
        while read < len(self.board):
            entry = self.board[read]
            for name, member in self.members.items():
                self.say(name, self.taken_in(name, member, entry))
            read += 1

    def taken_in(self, name: str, member: MemberEpoch, entry: tuple[str, str, str, bytes]) -> list[Outgoing]:
        """Let one member read one message and fetch what it then waits for."""
        start = time.process_time()
        outgoing = member.handle(*entry)
        for session, dealer in member.wanted():
            outgoing += member.on_deal(dealer, self.post[session, dealer])
        if name in self.seconds:
            spent = self.seconds[name]
            spent[entry[1]] = spent.get(entry[1], 0.0) + time.process_time() - start
        return outgoing


def judged(federation: Federation) -> float:
    """Return the CPU seconds of reading the whole attempt as the coordinator does."""
    start = time.process_time()
    setups = {sender: body for _, step, sender, body in federation.board if step == "setup"}
    listing = next(body for _, step, _, body in federation.board if step == "epoch")
    attempt = Attempt(listing, label="setup-1", setups=setups, limits=federation.rules)
    for session, step, sender, body in federation.board:
        if step == "halves":
            attempt.add_halves(sender, session, body)
        elif step == "probe":
            attempt.add_probe(sender, session, body)
    if not attempt.is_ready:
        raise SystemExit("the epoch did not come up")
    return time.process_time() - start


def measured(members: int) -> dict[str, object]:
    """Return the figures of one size."""
    federation = Federation(constitution(members))
    federation.run()
    if not all(member.keys for member in federation.members.values()):
        raise SystemExit("a member has no keys")
    first, last = federation.seconds
    largest = {step: max(len(body) for _, found, _, body in federation.board if found == step)
               for step in ("setup", "epoch", "halves", "probe")}  # fmt: skip
    return {
        "members": members,
        "threshold": federation.rules.threshold,
        "bytes": largest,
        "posted_by_a_member": sum(len(body) for (_, sender), body in federation.post.items() if sender == first),
        "fetched_by_the_last": sum(
            len(body) for (session, _), body in federation.post.items() if session == f"setup-1-to-{members}"
        ),
        "board_bytes": sum(len(body) for *_, body in federation.board),
        "post_bytes": sum(map(len, federation.post.values())),
        "first_member_cpu_s": {step: round(value, 3) for step, value in federation.seconds[first].items()},
        "last_member_cpu_s": {step: round(value, 3) for step, value in federation.seconds[last].items()},
        "coordinator_cpu_s": round(judged(federation), 3),
    }  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--members", type=int, nargs="+", default=[5, 10, 50])
    deal(bytes(32), holders=("a", "b"), threshold=1)  # the first call compiles
    for size in parser.parse_args().members:
        print(json.dumps(measured(size), indent=1))
