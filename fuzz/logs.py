"""What a log, its keeper or a witness may send: notes, keys, entries, bundles, cosignatures, evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hansa.audit.bundle import join
from hansa.audit.checkpoint import Checkpoint, open_checkpoint, signed_checkpoint
from hansa.audit.entry import seal_entry
from hansa.audit.merkle import Frontier, leaf_hashes
from hansa.audit.note import Note, NoteKey, SignatureLine, cosign, origin_of, witness_name
from hansa.audit.statement import ConstitutionLogged, Statement
from hansa.audit.tiles import decode_bundle, encode_bundle
from hansa.audit.verify import UnreadableError, verify
from hansa.errors import HansaError
from hansa.federation.entries import peek
from hansa.federation.log_view import LogView, check_line, log_key, witness_keys
from hansa.federation.store import MemberStore
from hansa.protocol.messages import Logged, seal_envelope
from sample_federation import COORDINATOR, key, limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from targets import Target

FEDERATION: Final = limits().federation
SAID: Final = Statement({"constitution": bytes(32)}, ConstitutionLogged(1, "00" * 32, 1, None))
ENTRY: Final = seal_entry(SAID, party=COORDINATOR, signer=key(COORDINATOR))


def checkpoint_of(entries: list[bytes]) -> Note:
    """Return the log's signed checkpoint of some entries."""
    frontier, _ = Frontier().extended(leaf_hashes(entries))
    text = Checkpoint(origin_of(FEDERATION), frontier.size, frontier.root())
    return signed_checkpoint(text, key(COORDINATOR))


def opened(data: bytes) -> None:
    """Open the input as a checkpoint, and again with its text signed afresh by the log."""
    own = log_key(limits())
    try:
        open_checkpoint(data, log=own)
    except HansaError:
        text = Note.parse(data).text
        open_checkpoint(signed_checkpoint(Checkpoint.parse(text), key(COORDINATOR)).to_bytes(), log=own)


def cosignature(data: bytes) -> None:
    """Take the input as a member's cosignature."""
    check_line(data, sender="m00", text=checkpoint_of([ENTRY]).text, key=witness_keys(limits())["m00"])


def shown(data: bytes) -> None:
    """Show a member entries cut out of the input, under a true checkpoint of them."""
    entries = [data[place : place + 200] for place in range(0, len(data), 200)] + [ENTRY]
    logged = Logged(0, tuple(entries), checkpoint_of(entries).to_bytes())
    store = MemberStore(_memory())
    try:
        view = LogView("m00", limits=limits(), signer=key("m00"), store=store, clock=lambda: 0)
        view.on_logged(seal_envelope(logged, sender=COORDINATOR, signer=key(COORDINATOR)))
    finally:
        store.close()


def evidence(data: bytes) -> None:
    """Verify the input, as it comes and as a bundle's index and constitution."""
    half = len(data) // 2
    for bundle in (data, join(data[:half], data[half:], [ENTRY], [data])):
        try:
            verify(bundle)
        except UnreadableError:
            continue


def _memory() -> Path:
    import files  # noqa: PLC0415 - its folder is made once a process

    path: Path = files._folder() / "witness.sqlite"  # noqa: SLF001 - the fuzzers share one scratch folder
    path.unlink(missing_ok=True)
    return path


def log_targets(make: Callable[..., Target]) -> Iterable[Target]:
    """Return the targets of this module, made by the `Target` of the caller."""
    note = checkpoint_of([ENTRY])
    line = cosign(note.text, key("m00"), name=witness_name(FEDERATION, "m00"), seconds=1)
    vkey = NoteKey.of(origin_of(FEDERATION), key(COORDINATOR).public, is_cosignature=False).vkey
    yield make("note", Note.parse, (note.with_signatures([line]).to_bytes(),), "text")
    yield make("checkpoint", opened, (note.to_bytes(),), "text")
    yield make("note-key", lambda data: NoteKey.parse(data.decode("latin-1")), (vkey.encode(),), "text")
    yield make(
        "signature-line",
        lambda data: SignatureLine.parse(data.decode("utf-8", "replace")),
        (str(line).encode(),),
        "text",
    )
    yield make("cosignature", cosignature, (str(line).encode(),), "text")
    yield make("statement", Statement.parse, (SAID.to_bytes(),), "json")
    yield make("entry", peek, (ENTRY,), "json")
    yield make("entry-bundle", decode_bundle, (encode_bundle([ENTRY, b"x"]),))
    yield make("logged", shown, (ENTRY + b"x",), weight=1)
    yield make("evidence", evidence, (b"{}" + b"[]",), max_bytes=8192, floor=1 << 22)
