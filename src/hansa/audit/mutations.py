"""The verifier's own test: a bundle is changed in many small ways, and each must be refused by the right check.

A change is of one field, one byte, one piece. Nobody's keys are here, so nothing is signed again: what a party with a
key can do is tested where keys are, in the tests of the project.
"""

from __future__ import annotations

import base64
import copy
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import verify
from .arithmetic import compact, framed, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

UNREADABLE = "bundle"
FLIPS = 12  # bytes of each piece that are changed, spread over it
REGIONS = (  # which checks may refuse a changed byte of each piece
    "bundle|statements|checkpoints|consistency|inclusion|rounds|sums",
    "constitution",
    "bundle|statements|inclusion",
    "bundle|statements",
)


@dataclass
class Pieces:
    """A bundle taken apart; to be changed and joined again."""

    index: dict[str, Any]
    constitution: bytes
    entries: list[bytes]
    messages: list[bytes]

    @classmethod
    def of(cls, data: bytes) -> Pieces:
        """Take a bundle apart."""
        index, constitution, entries, messages = framed(data[len(verify.MAGIC) :], 8)
        return cls(parse(index), constitution, framed(entries, 2), framed(messages, 4))

    def join(self) -> bytes:
        """Return the bundle's bytes."""
        pieces = [compact(self.index).encode(), self.constitution, frame(self.entries, 2), frame(self.messages, 4)]
        return verify.MAGIC + frame(pieces, 8)


def frame(pieces: list[bytes], width: int) -> bytes:
    """Return pieces, each after its length."""
    return b"".join(len(piece).to_bytes(width, "big") + piece for piece in pieces)


def flip(text: str, place: int = 0) -> str:
    """Return base64 or hexadecimal text with one character exchanged for another of both."""
    return text[:place] + ("1" if text[place] == "0" else "0") + text[place + 1 :]


def other_hash(text: str) -> str:
    """Return another hash in base64."""
    raw = base64.b64decode(text)
    return base64.b64encode(bytes([raw[0] ^ 1]) + raw[1:]).decode()


def changes() -> list[tuple[str, str, Callable[[Pieces], object]]]:
    """Return what is changed, the check that has to refuse it, and how; a change raises LookupError if it cannot be."""
    return [
        ("a member's number in the rules", "constitution", lambda p: swap(p, b'"colluders":1', b'"colluders":0')),
        ("a budget in the rules", "constitution", lambda p: swap(p, b'"epsilon":', b'"epsilon":1')),
        (
            "a member's key",
            "constitution",
            lambda p: swap(p, b'"identity_key":"ed25519:', b'"identity_key":"ed25519:A'),
        ),
        ("white space in the rules", "constitution", lambda p: swap(p, b'"epoch":', b'"epoch": ')),
        ("a signature on the rules", "constitution", lambda p: signature(p, flip)),
        ("a signature on the rules, in capitals", "constitution", lambda p: signature(p, str.upper)),
        ("a signature on the rules, cut", "constitution", lambda p: signature(p, lambda text: text[:-2])),
        ("all signatures on the rules", "constitution", lambda p: swap(p, b'"signatures":{"', b'"signatures":{"x')),
        ("what an entry says", "statements", lambda p: entry(p, b'"payload":"', 40)),
        ("who signed an entry", "statements", lambda p: entry(p, b'"keyid":"', 0)),
        ("an entry's signature", "statements", lambda p: entry(p, b'"sig":"', 5)),
        ("the type of an entry", "inclusion", lambda p: entry(p, b'"payloadType":"', 0)),
        ("an entry taken out, its proof left", "statements", lambda p: p.entries.pop()),
        ("a proof taken out, its entry left", "statements", lambda p: p.index["entries"].pop()),
        ("a message that no entry names", "statements", lambda p: p.messages.append(b"more")),
        ("the first message", "statements", lambda p: p.messages.insert(0, other(p.messages.pop(0)))),
        ("the last message", "statements", lambda p: p.messages.append(other(p.messages.pop()))),
        ("two entries exchanged", "inclusion", lambda p: exchange(p.entries, 0, 1)),
        ("the log's key", "checkpoints", lambda p: p.index.update(log_key=flip(p.index["log_key"], 20))),
        ("the log's name", "checkpoints", lambda p: note(p, lambda text: "x" + text)),
        ("a checkpoint's size", "checkpoints", lambda p: note(p, lambda text: text.replace("\n", "\n1", 1))),
        ("a checkpoint's root", "checkpoints", lambda p: note_line(p, 2, other_hash)),
        ("a line in a checkpoint", "checkpoints", lambda p: note(p, lambda text: text.replace("\n\n", "\nmore\n\n"))),
        ("the log's signature", "checkpoints", lambda p: signed(p, 0, 30)),
        ("a cosignature", "checkpoints", lambda p: signed(p, 1, 60)),
        ("a cosignature's time", "checkpoints", lambda p: signed(p, 1, 10)),
        ("a cosignature's key", "checkpoints", lambda p: signed(p, 1, 1)),
        ("the log's signature taken out", "checkpoints", lambda p: drop(p, 0, 1)),
        ("cosignatures taken out", "checkpoints", lambda p: drop(p, 2, 99)),
        (
            "a cosigner's name",
            "checkpoints",
            lambda p: note(p, lambda text: text.replace("\u2014 hansa", "\u2014 Hansa")),
        ),
        ("the dash of a signature", "checkpoints", lambda p: note(p, lambda text: text.replace("\u2014", "-"))),
        (
            "the last checkpoint twice",
            "consistency",
            lambda p: p.index["checkpoints"].append(p.index["checkpoints"][-1]),
        ),
        ("all checkpoints", "checkpoints", lambda p: p.index["checkpoints"].clear()),
        ("two checkpoints exchanged", "consistency", lambda p: exchange(p.index["checkpoints"], 0, 1)),
        ("a hash of a consistency proof", "consistency", lambda p: rehash(p.index["consistency"][-1])),
        ("a consistency proof cut", "consistency", lambda p: p.index["consistency"][-1].pop()),
        ("a consistency proof lengthened", "consistency", lambda p: lengthen(p.index["consistency"][-1])),
        ("a consistency proof taken out", "consistency", lambda p: p.index["consistency"].pop()),
        ("a hash of an inclusion proof", "inclusion", lambda p: rehash(p.index["entries"][0][1])),
        ("an inclusion proof cut", "inclusion", lambda p: p.index["entries"][0][1].pop()),
        ("an inclusion proof lengthened", "inclusion", lambda p: lengthen(p.index["entries"][0][1])),
        ("an inclusion proof of another entry", "inclusion", exchange_proofs),
        ("an entry's number", "inclusion", lambda p: renumber(p, -1, 1)),
        ("an entry's number, to one that is taken", "inclusion", lambda p: renumber(p, 0, 1)),
        ("an entry's number, below zero", "inclusion", lambda p: renumber(p, 0, -1_000_000)),
        ("the announcement of a sum", "rounds", lambda p: without(p, "manifest")),
        ("the cohort of a sum", "rounds", lambda p: without(p, "cohort")),
        ("the ciphertexts of a sum", "rounds", lambda p: without(p, "upload")),
        ("the result of a sum", "rounds", lambda p: without(p, "result")),
        ("a partial decryption of a sum", "sums", lambda p: without(p, "opening")),
        ("the entry that announces a sum", "rounds", lambda p: forget(p, "manifest")),
        ("the entry of a cohort", "rounds", lambda p: forget(p, "cohort")),
        ("the entry of the ciphertexts", "rounds", lambda p: forget(p, "ciphertexts")),
        ("the checkpoint before a cohort", "rounds", unwitness),
        ("the entry of a member's charge", "budgets", lambda p: forget(p, "charge")),
        ("a mask seed of a dropped member", "sums", lambda p: reseed(p, other_hash)),
        ("a mask seed more than there are", "sums", lambda p: p.index["seeds"].update({"00": {"x": {"y": "AA=="}}})),
        ("a field more in the index", UNREADABLE, lambda p: p.index.update(more=1)),
        ("a field less in the index", UNREADABLE, lambda p: p.index.pop("seeds")),
    ]


def mutants(data: bytes) -> Iterator[tuple[str, str, bytes]]:
    """Give what was changed, which checks may refuse it (names between bars), and the changed bundle."""
    whole = Pieces.of(data)
    for what, check, change in changes():
        pieces = copy.deepcopy(whole)
        try:
            change(pieces)
        except LookupError:
            continue  # this bundle has nothing of the kind
        if pieces != whole:
            yield what, check, pieces.join()
    yield "the first byte", UNREADABLE, b"H" + data[1:]
    yield "the last byte, cut off", UNREADABLE, data[:-1]
    yield "a byte more at the end", UNREADABLE, data + b"\0"
    begin = len(verify.MAGIC)
    for piece, checks in zip(framed(data[begin:], 8), REGIONS, strict=True):
        begin += 8
        for place in range(begin, begin + len(piece), max(1, len(piece) // FLIPS)):
            yield f"byte {place}", checks, data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        begin += len(piece)


def self_test(data: bytes) -> tuple[int, int, list[str]]:
    """Return how many changes of a bundle were made, how many refused by the right check, and which were not."""
    made, wrong = 0, list[str]()
    for what, checks, changed in mutants(data):
        made += 1
        try:
            last = verify.verify(changed)[-1]
            found = last["check"] if last["verdict"] == "refused" else "nobody"
        except verify.UnreadableError:
            found = UNREADABLE
        if found not in checks.split("|"):
            wrong.append(f"{what}: refused by {found}, expected {checks}")
    return made, made - len(wrong), wrong


def other(data: bytes) -> bytes:
    """Return the bytes with the last one changed."""
    return data[:-1] + bytes([data[-1] ^ 1])


def swap(pieces: Pieces, old: bytes, new: bytes) -> None:
    """Exchange the first occurrence in the constitution's file."""
    if old not in pieces.constitution:
        raise LookupError
    pieces.constitution = pieces.constitution.replace(old, new, 1)


def signature(pieces: Pieces, change: Callable[[str], str]) -> None:
    """Change the first signature of the constitution's file."""
    head, mark, tail = pieces.constitution.decode().partition('"signatures":{"')
    name, colon, rest = tail.partition('":"')
    value, quote, end = rest.partition('"')
    pieces.constitution = (head + mark + name + colon + change(value) + quote + end).encode()


def entry(pieces: Pieces, field: bytes, place: int) -> None:
    """Change a character of a field of the first entry."""
    at = pieces.entries[0].index(field) + len(field) + place
    pieces.entries[0] = pieces.entries[0][:at] + flip(chr(pieces.entries[0][at])).encode() + pieces.entries[0][at + 1 :]


def exchange(values: list[Any], one: int, two: int) -> None:
    """Exchange two of a list."""
    values[one], values[two] = values[two], values[one]


def exchange_proofs(pieces: Pieces) -> None:
    """Exchange the proofs of the first two entries."""
    first, second = pieces.index["entries"][:2]
    first[1], second[1] = second[1], first[1]


def note(pieces: Pieces, change: Callable[[str], str]) -> None:
    """Change the text of the last checkpoint."""
    pieces.index["checkpoints"][-1] = change(pieces.index["checkpoints"][-1])


def note_line(pieces: Pieces, number: int, change: Callable[[str], str]) -> None:
    """Change a line of the last checkpoint."""
    lines = pieces.index["checkpoints"][-1].split("\n")
    lines[number] = change(lines[number])
    pieces.index["checkpoints"][-1] = "\n".join(lines)


def signed(pieces: Pieces, number: int, place: int) -> None:
    """Change a byte of a signature of the last checkpoint."""

    def change(line: str) -> str:
        dash, name, code = line.split(" ")
        raw = bytearray(base64.b64decode(code))
        raw[place] ^= 1
        return f"{dash} {name} {base64.b64encode(raw).decode()}"

    note_line(pieces, 4 + number, change)


def drop(pieces: Pieces, first: int, count: int) -> None:
    """Take signatures out of the last checkpoint."""
    text, _, lines = pieces.index["checkpoints"][-1].rpartition("\n\n")
    kept = lines.splitlines(keepends=True)
    del kept[first : first + count]
    pieces.index["checkpoints"][-1] = text + "\n\n" + "".join(kept)


def rehash(path: list[str]) -> None:
    """Change the first hash of a proof."""
    path[0] = other_hash(path[0])


def lengthen(path: list[str]) -> None:
    """Repeat the last hash of a proof."""
    path.append(path[-1])


def renumber(pieces: Pieces, place: int, shift: int) -> None:
    """Change an entry's number."""
    pieces.index["entries"][place][0] += shift


def without(pieces: Pieces, kind: str) -> None:
    """Take out the first message of a kind."""
    pieces.messages.remove(next_of(m for m in pieces.messages if f"vnd.hansa.{kind}+".encode() in m[:80]))


def forget(pieces: Pieces, kind: str) -> None:
    """Take out the first entry of a kind, its proof, and the messages that only it names."""
    kinds = [parse(base64.b64decode(parse(entry)["payload"])) for entry in pieces.entries]
    place = next_of(k for k, one in enumerate(kinds) if one["predicateType"].split(":")[3] == kind)
    del pieces.entries[place], pieces.index["entries"][place], kinds[place]
    named = {subject["digest"]["sha256"] for one in kinds for subject in one["subject"]}
    pieces.messages = [m for m in pieces.messages if hashlib.sha256(m).hexdigest() in named]


def unwitness(pieces: Pieces) -> None:
    """Take out every checkpoint from before the first cohort, and the proofs that the next ones continue them."""
    kinds = [parse(base64.b64decode(parse(entry)["payload"]))["predicateType"] for entry in pieces.entries]
    cohort = pieces.index["entries"][next_of(k for k, one in enumerate(kinds) if one.split(":")[3] == "cohort")][0]
    before = sum(int(note.split("\n")[1]) <= cohort for note in pieces.index["checkpoints"])
    del pieces.index["checkpoints"][:before], pieces.index["consistency"][:before]


def reseed(pieces: Pieces, change: Callable[[str], str]) -> None:
    """Change the first mask seed."""
    towards = next_of(iter(next_of(iter(pieces.index["seeds"].values())).values()))
    peer = next_of(iter(towards))
    towards[peer] = change(towards[peer])


def next_of(values: Iterator[Any]) -> Any:  # noqa: ANN401 - whatever it gives
    """Return the first, or raise LookupError."""
    for value in values:
        return value
    raise LookupError
