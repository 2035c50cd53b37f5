"""Verify an evidence bundle offline, with Python and `cryptography` alone. Nothing of hansa is believed or imported.

    hansa-verify BUNDLE [--json] [--constitution DIGEST] [--self-test]

Exit code 0: every check holds. 1: one does not; its line says why. 2: the bundle or the call cannot be read.
The form of a bundle is in docs/reference/evidence.md; every byte of it counts.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import math
import sys
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .arithmetic import (
    RefusedError,
    add_again,
    climb,
    compact,
    delta_of,
    demand,
    framed,
    is_signed,
    note_key_id,
    pae,
    parse,
    unbase64,
    unpack,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    QuoteCheck = Callable[[bytes], str]

MAGIC = b"hansa-evidence/1\n"
NOTHING = "none here: nothing is proved"
CHECKS = {  # what each proves, and what it leaves open
    "constitution": (
        "All members have signed these rules and this roster.",
        "That they are the ones agreed on: compare the digest by another channel, or give it with --constitution.",
    ),
    "statements": (
        "Each log entry was signed by the party whose it is to say, and names the messages here by their hashes.",
        "That what a party says is true.",
    ),
    "checkpoints": (
        "The log signed each checkpoint, and a quorum of members cosigned it.",
        "That there is no newer one.",
    ),
    "consistency": (
        "Each checkpoint's tree is the beginning of the next one's: nothing was rewritten or taken out between.",
        "Anything about other checkpoints of this log.",
    ),
    "inclusion": (
        "Each entry stands at its place in the log.",
        "That entries were not left out of this bundle where their numbers have gaps.",
    ),
    "rounds": (
        "Each sum was announced under these rules and in a cosigned checkpoint, and its uploads are its members'.",
        "That members' vectors are true.",
    ),
    "sums": (
        "The published sums are what the logged ciphertexts and partial decryptions add up to, to the last bit.",
        "That a decryptor did not shift a sum by whole steps, as it could in its own upload.",
    ),
    "budgets": (
        "Each charge shown is what its sum costs by the rules, adds up, and stays within the budget.",
        "That charges that are not shown here were made, or were not.",
    ),
    "attestation": (
        "Each quote carries the coordinator's keys and code that its evidence names.",
        "That the quote is genuine and its machine is one that the rules allow, unless a check of quotes was given.",
    ),
}
INDEX = ["checkpoints", "consistency", "entries", "log_key", "seeds"]
SPEAKERS = {"charge": "member", "egress": "member", "node-audit": "auditor"}  # of all else it is the coordinator
BOUND_AT = {"tdx": (568, 574), "sgx": (368,), "sev-snp": (80,)}  # where a quote carries what it is bound to


class UnreadableError(Exception):
    """It is no bundle."""


class Case:
    """A bundle and what its checks found so far; each check relies on those before it."""

    def __init__(self, data: bytes, pinned: str = "", quote_check: QuoteCheck | None = None) -> None:
        try:
            demand(data.startswith(MAGIC), f"a bundle begins with {MAGIC!r}")
            index, self.file, entries, messages = framed(data[len(MAGIC) :], 8)
            self.index, self.entries, bodies = parse(index), framed(entries, 2), framed(messages, 4)
            is_index = isinstance(self.index, dict) and sorted(self.index) == INDEX
            demand(is_index and compact(self.index).encode() == index, "its index has another form")
        except (RecursionError, RefusedError, ValueError) as error:
            raise UnreadableError(str(error)) from error
        self.pinned, self.quote_check = pinned, quote_check
        self.messages = {hashlib.sha256(body).hexdigest(): body for body in bodies}
        self.said: list[tuple[int, str, dict[str, Any], dict[str, str]]] = []
        self.sessions: dict[str, dict[str, Any]] = {}
        self.trees: list[tuple[int, bytes]] = []

    def _constitution(self) -> str:
        text, begin = self.file.decode(), len('{"constitution":')
        raw = text[begin : json.JSONDecoder().raw_decode(text, begin)[1]]
        self.rules, signatures, self.digest = (
            parse(raw),
            parse(text)["signatures"],
            hashlib.sha256(raw.encode()).hexdigest(),
        )
        signed = {name: bytes.fromhex(signature) for name, signature in signatures.items()}
        form = compact({name: signature.hex() for name, signature in signed.items()})
        demand(text == f'{{"constitution":{raw},"signatures":{form}}}', "the file is not in its one form")
        demand(self.pinned in {"", self.digest}, f"expected digest {self.pinned}, got {self.digest}")
        self.keys = {one["name"]: one["identity_key"] for one in (*self.rules["members"], self.rules["coordinator"])}
        *self.members, self.coordinator = self.keys
        demand(set(signed) == set(self.members), "it is not signed by all its members and nobody else")
        for name, signature in signed.items():
            holds = is_signed(self.keys[name], pae("application/vnd.hansa.constitution+json", raw.encode()), signature)
            demand(holds, f"the signature of {name} does not hold")
        self.quorum = (len(self.members) + self.rules["colluders"]) // 2 + 1
        return f"{len(self.members)} members, digest {self.digest}"

    def _statements(self) -> str:
        demand(len(self.entries) == len(self.index["entries"]), "not one proof an entry")
        for (number, _), entry in zip(self.index["entries"], self.entries, strict=True):
            envelope = parse(entry)
            payload, (signature,) = unbase64(envelope["payload"]), envelope["signatures"]
            statement, party = parse(payload), signature["keyid"]
            kind, said = statement["predicateType"].split(":")[3], statement["predicate"]
            demand(party == said.get(SPEAKERS.get(kind), self.coordinator), f"entry {number}: not for {party} to say")
            message = pae("application/vnd.in-toto+json", payload)
            holds = is_signed(self.keys[party], message, unbase64(signature["sig"]))
            demand(holds, f"entry {number}: the signature of {party} does not hold")
            self.said.append((number, kind, said, {s["name"]: s["digest"]["sha256"] for s in statement["subject"]}))
        named = {digest for *_, subjects in self.said for digest in subjects.values()}
        demand(self.messages.keys() <= named, "a message that no entry names")
        return f"{len(self.said)} entries about {len(self.messages)} messages"

    def _checkpoints(self) -> str:
        origin, log_key = f"hansa/{self.rules['federation']}", self.index["log_key"]
        known = {said["log_key"] for _, kind, said, _ in self.said if kind == "attestation"}
        demand(log_key in known | {self.keys[self.coordinator]}, "the log's key is none that the coordinator named")
        keys = {f"{origin}/{name}": self.keys[name] for name in self.members} | {origin: log_key}
        for note in self.index["checkpoints"]:
            text, _, lines = note.rpartition("\n\n")
            first, size, root = text.split("\n")
            signers = set()
            for line in lines.removesuffix("\n").split("\n"):
                dash, name, code = line.split(" ")
                raw, message, is_log = unbase64(code), f"{text}\n".encode(), name == origin
                if not is_log:
                    message = b"cosignature/v1\ntime %d\n%b" % (int.from_bytes(raw[4:12], "big"), message)
                is_named = dash == "—" and raw[:4] == note_key_id(name, keys[name], is_cosigner=not is_log)
                holds = is_named and is_signed(keys[name], message, raw[4 if is_log else 12 :], is_der=is_log)
                demand(holds, f"size {size}: the signature of {name} does not hold")
                signers.add(name)
            demand(first == origin and origin in signers, f"size {size}: not signed by the log {origin}")
            found = len(signers) - 1
            demand(found >= self.quorum, f"size {size}: expected cosignatures of {self.quorum} members, got {found}")
            self.trees.append((int(size), unbase64(root)))
        return f"{len(self.trees)} checkpoints, the last of {self.trees[-1][0]} entries, quorum {self.quorum}"

    def _consistency(self) -> str:
        steps = zip(pairwise(self.trees), self.index["consistency"], strict=True)
        for ((old, old_root), (new, new_root)), proof in steps:
            demand(0 < old < new, "checkpoints are not in the order of their sizes")
            path = [*([] if old & (old - 1) else [old_root]), *map(unbase64, proof)]
            shift = (old & -old).bit_length() - 1
            roots = climb((old - 1) >> shift, (new - 1) >> shift, path[1:], path[0])
            demand(roots == (old_root, new_root), f"the tree of {old} entries does not begin that of {new}")
        return f"{len(self.trees) - 1} steps"

    def _inclusion(self) -> str:
        (size, root), numbers = self.trees[-1], [number for number, _ in self.index["entries"]]
        demand(numbers == sorted(set(numbers)) and numbers[0] >= 0, "entries out of order")
        for (number, proof), entry in zip(self.index["entries"], self.entries, strict=True):
            top = climb(number, size - 1, list(map(unbase64, proof)), hashlib.sha256(b"\0" + entry).digest())[1]
            demand(number < size and top == root, f"entry {number} does not stand in the tree of {size} entries")
        return f"entries {numbers[0]} to {numbers[-1]}, {numbers[-1] - numbers[0] + 1 - len(numbers)} left out"

    def _message(self, subjects: dict[str, str], name: str, kind: str, **fields: object) -> tuple[str, dict[str, Any]]:
        body, sender = self.messages.get(subjects[name]), name.split("/")[1]
        demand(body, f"the bundle lacks {name}, which an entry names")
        media, said_by, payload, signature = unpack(body or b"")
        holds = is_signed(self.keys[sender], pae(media, hashlib.sha256(payload).digest()), signature)
        demand(holds and said_by == sender, f"{name}: the signature of {sender} does not hold")
        found = unpack(payload)
        is_it = media == f"application/vnd.hansa.{kind}+msgpack" and fields.items() <= found.items()
        demand(is_it, f"{name} is another message, or about something else")
        return hashlib.sha256(f"hansa/{kind}/1".encode() + payload).hexdigest(), found

    def _rounds(self) -> str:
        kinds = ["manifest", "cohort", "ciphertexts", "result"]
        told = [entry for entry in self.said if entry[1] in kinds]
        for number, kind, said, subjects in told:
            one = self.sessions.setdefault(said["manifest"], {})
            ids: dict[str, Any] = {"manifest": bytes.fromhex(said["manifest"])}
            demand(list(one) == kinds[: kinds.index(kind)], f"entry {number}: {kind} out of turn")
            if kind == "manifest":
                name = f"announce/{self.coordinator}"
                digest, body = self._message(subjects, name, "manifest", constitution=self.digest)
                demand(digest == said["manifest"], f"entry {number}: another manifest than it says")
                demand(set(body["participants"]) <= set(self.members), f"entry {number}: a stranger takes part")
            elif kind == "cohort":
                digest, body = self._message(subjects, f"cohort/{self.coordinator}", "cohort", **ids)
                seen, names = one["manifest"], body["members"]
                is_witnessed = any(seen[0] < size <= number for size, _ in self.trees)
                demand(is_witnessed, f"entry {number}: its sum was in no cosigned checkpoint before")
                is_enough = self.rules["minimum_cohort"] <= len(set(names)) == len(names)
                is_it = digest == said["root"] and set(names) <= set(seen[1]["participants"])
                demand(is_it and is_enough, f"entry {number}: too small a cohort, or another than it says")
                body["root"] = digest
            elif kind == "ciphertexts":
                cohort = one["cohort"][1]
                hashes = {f"upload/{n}": h.hex() for n, h in zip(cohort["members"], cohort["uploads"], strict=True)}
                demand(hashes == subjects, f"entry {number}: other ciphertexts than the cohort agreed to")
                body = {n: self._message(subjects, f"upload/{n}", "upload", **ids)[1] for n in cohort["members"]}
            else:
                cohort = one["cohort"][1]
                ids["root"] = bytes.fromhex(cohort["root"])
                name = f"result/{self.coordinator}"
                _, body = self._message(subjects, name, "result", members=cohort["members"], **ids)
                step = f"open-{body['number']}" if body["number"] else "open"
                names = [name for name in (f"{step}/{member}" for member in cohort["members"]) if name in subjects]
                here = [name for name in names if subjects[name] in self.messages]
                body["openings"] = [
                    self._message(subjects, n, "opening", number=body["number"], **ids)[1] for n in here
                ]
            one[kind] = (number, body)
        return f"{len(self.sessions)} sums announced, {sum('result' in one for one in self.sessions.values())} opened"

    def _sums(self) -> str:
        for digest, one in self.sessions.items():
            if "result" not in one:
                continue
            (_, manifest), (_, cohort), (_, uploads), (number, result) = one.values()
            partials = [opening["partial"] for opening in result["openings"] if opening["partial"]]
            demand(
                len(partials) >= max(self.quorum, self.rules["colluders"] + 1), f"entry {number}: too few decryptors"
            )
            masks, seeds = [], self.index["seeds"].pop(digest, {})
            for member in cohort["members"]:
                for peer in sorted(set(manifest["participants"]) - set(cohort["members"])):
                    seed = unbase64(seeds[member].pop(peer))
                    is_own = hashlib.sha256(seed).digest() == uploads[member]["commitments"][peer]
                    demand(is_own, f"entry {number}: a seed of {member} towards {peer} that it did not commit to")
                    masks.append((seed, 1 if peer < member else -1))
            purpose, _, share = self._share_of(manifest)
            reach = len(self.members) * purpose["value_bound"] * purpose["scale"]
            is_wide = reach + 12 * share * math.sqrt(len(self.members)) >= 1 << 22
            vectors = [upload["ciphertext"] for upload in uploads.values()] + partials
            steps, noise = add_again(vectors, masks, is_wide=is_wide)
            demand(noise < 0.25, f"entry {number}: the partial decryptions open noise")
            found = steps[: (8 if is_wide else 4) * manifest["length"]]
            demand(found == result["steps"], f"entry {number}: another sum was published than adds up")
            demand(not any(seeds.values()), f"entry {number}: seeds towards members who did not drop out")
        demand(not self.index["seeds"], "seeds of a sum that is not here")
        return f"{sum('result' in one for one in self.sessions.values())} sums"

    def _share_of(self, manifest: dict[str, Any]) -> tuple[dict[str, Any], int, float]:
        purpose = self.rules["purposes"][manifest["purpose"]]
        touched = purpose["values_per_bar"] or manifest["length"]
        sigma = purpose["noise_multiplier"] * (purpose["sensitivity"] * purpose["scale"] + math.sqrt(touched))
        return purpose, touched, sigma / math.sqrt(self.rules["minimum_cohort"] - self.rules["colluders"])

    def _releases(self, manifest: dict[str, Any]) -> dict[str, int]:
        bar, purpose = self.rules["market"]["bar_seconds"], self.rules["purposes"][manifest["purpose"]]
        start, end = manifest["span_start_ns"] // 10**9 - bar, manifest["span_end_ns"] // 10**9
        if purpose["period"] == "year":
            return {datetime.fromtimestamp(end - bar, UTC).strftime("%Y"): 1}
        found: dict[str, int] = {}
        while start < end:
            midnight = min((start // 86_400 + 1) * 86_400, end)
            day = datetime.fromtimestamp(start, UTC).strftime("%Y-%m-%d")
            found[day], start = (midnight - start) // bar if purpose["values_per_bar"] else 1, midnight
        return found

    def _budgets(self) -> str:
        last: dict[tuple[str, ...], tuple[int, int]] = {}
        paid: set[tuple[str, str, str]] = set()
        for number, _, said, _ in (entry for entry in self.said if entry[1] == "charge"):
            manifest = self.sessions[said["manifest"]]["manifest"][1]
            purpose, touched, share = self._share_of(manifest)
            budget = said["member"], said["purpose"], said["period"]
            place, balance = last.get(budget, (0, 0))
            is_next = said["number"] == place + 1
            is_in_order = said["number"] > place and (not is_next or said["before"] == balance)
            demand(is_in_order, f"entry {number}: another balance than the charge before left")
            sign, cost = {"charge": 1, "release": -1}[said["change"]], self._releases(manifest).get(said["period"], 0)
            told = said["session"], said["purpose"], said["releases"]
            is_due = told == (manifest["session"], manifest["purpose"], cost)
            demand(is_due and said["after"] == said["before"] + sign * cost >= 0, f"entry {number}: does not add up")
            noise = share, self.rules["minimum_cohort"] - self.rules["colluders"], touched
            delta = delta_of(said["epsilon"], said["after"], purpose["noise_multiplier"], noise)
            is_within = said["epsilon"] <= purpose["epsilon"] and delta <= purpose["delta"] * (1 + 1e-6)
            demand(is_within, f"entry {number}: {said['member']} is beyond its budget of {said['purpose']}")
            last[budget] = said["number"], said["after"]
            paid |= {(said["manifest"], said["member"], said["period"])} if sign > 0 else set()
        for digest, one in self.sessions.items() if paid else ():
            members = one["cohort"][1]["members"] if "result" in one else ()
            due = {(digest, name, period) for name in members for period in self._releases(one["manifest"][1])}
            demand(due <= paid, f"{one['manifest'][1]['session']}: not everybody in the cohort was charged")
        return f"{len(paid)} charges in {len(last)} budgets" if paid else NOTHING

    def _attestation(self) -> str:
        found = []
        for number, _, said, subjects in (entry for entry in self.said if entry[1] == "attestation"):
            evidence = parse(self.messages[subjects["attestation"]])
            binding, quote = evidence["binding"], base64.b64decode(evidence["quote"])
            words = b"hansa/attestation/1\n" + compact(binding).encode()
            places = BOUND_AT.get(said["technology"], ())
            holds = any(quote[at : at + 64] == hashlib.sha512(words).digest() for at in places)
            holds |= said["technology"] == "tpm" and hashlib.sha256(words).digest() in quote
            names = [binding["log_key"], evidence["technology"], binding["identity_key"], binding["federation"]]
            ours = [said["log_key"], said["technology"], self.keys[self.coordinator], self.rules["federation"]]
            demand(holds and names == ours, f"entry {number}: the quote is bound to something else")
            found.append(self.quote_check(self.messages[subjects["attestation"]]) if self.quote_check else "unchecked")
        return f"{len(found)} quotes, their signatures: {', '.join(found)}" if found else NOTHING


def verify(data: bytes, *, pinned: str = "", quote_check: QuoteCheck | None = None) -> list[dict[str, str]]:
    """Return the verdict of each check up to the first that does not hold.

    Args:
        data: The bundle.
        pinned: Digest that the constitution must have; any if empty.
        quote_check: Told the evidence of an attestation, raises ValueError or returns what it found.

    Raises:
        UnreadableError: It is no bundle.
    """
    case, verdicts = Case(data, pinned, quote_check), []
    for name, (proves, leaves_open) in CHECKS.items():
        verdict, detail = "verified", ""
        try:
            detail = getattr(case, f"_{name}")()
        except RefusedError as error:
            verdict, detail = "refused", str(error)
        except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
            verdict, detail = "refused", f"malformed: {type(error).__name__}: {error}"
        found = {"check": name, "verdict": verdict, "detail": detail, "proves": proves, "leaves_open": leaves_open}
        verdicts.append(found)
        if verdict == "refused":
            break
    return verdicts


def main(arguments: Sequence[str] | None = None) -> int:
    """Verify the bundle that the command line names; return the exit code."""
    parser = argparse.ArgumentParser(prog="hansa-verify", description="Verify an evidence bundle offline.")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--constitution", default="", metavar="DIGEST", help="the digest that it must have")
    parser.add_argument("--self-test", action="store_true", help="change the bundle in many ways; each must be refused")
    asked = parser.parse_args(arguments)
    try:
        data = asked.bundle.read_bytes()
        verdicts = verify(data, pinned=asked.constitution)
    except (OSError, UnreadableError) as error:
        sys.stderr.write(f"hansa-verify: {asked.bundle}: {error}\n")
        return 2
    is_verified = verdicts[-1]["verdict"] == "verified"
    if asked.self_test and is_verified:
        from . import mutations  # noqa: PLC0415 - only the self-test needs it

        made, refused, wrong = mutations.self_test(data)
        words = (
            json.dumps({"mutations": made, "refused": refused})
            if asked.json
            else f"{refused} of {made} changes refused"
        )
        sys.stdout.write(words + "\n")
        sys.stderr.write("".join(f"{line}\n" for line in wrong))
        return int(bool(wrong))
    if asked.json:
        sys.stdout.write(json.dumps({"verified": is_verified, "checks": verdicts}) + "\n")
    for one in () if asked.json else verdicts:
        sys.stdout.write(f"{one['verdict']:8} {one['check']}: {one['detail']}\n")
        sys.stdout.write(f"         proves: {one['proves']}\n         not: {one['leaves_open']}\n")
    return int(not is_verified)


if __name__ == "__main__":
    raise SystemExit(main())
