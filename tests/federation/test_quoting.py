"""Claims about the coordinator's own evidence: the request, the files, and the command that makes them one."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import TYPE_CHECKING

import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from typer.testing import CliRunner

import folders
from hansa.cli import app
from hansa.errors import AttestationError, ConfigurationError
from hansa.federation.node import Node, load_node
from hansa.federation.quoting import OwnAttestation, own_attestation, quote_files, read_parts
from hansa.identity.attestation.evidence import MAX_BYTES, Evidence
from hansa.identity.attestation.measurement import measure_package
from hansa.identity.certificates import load_certificate
from synthetic_tpm import PUBLIC, REGISTERS, clause, quote, signature

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

EPOCH_ID = b"\x11" * 32


@pytest.fixture
def node(tmp_path: Path) -> Node:
    rules = msgspec.structs.replace(clause("require"), code=(measure_package(),))
    return load_node(folders.found(tmp_path, attestation=rules) / "coordinator")


def write_parts(node: Node, directory: Path, registers: dict[str, str] = REGISTERS) -> tuple[str, ...]:
    """Answer the request as a platform's tool would; return the command's arguments."""
    raw = quote((node.work / "attestation" / "qualifying-data.bin").read_bytes(), registers)
    for name, content in {"quote.bin": raw, "ak.der": PUBLIC, "quote.sig": signature(raw)}.items():
        (directory / name).write_bytes(content)
    parts = ("--part", f"key={directory / 'ak.der'}", "--part", f"signature={directory / 'quote.sig'}")
    return ("--technology", "tpm", "--quote", str(directory / "quote.bin"), *parts)


def command(node: Node, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["coordinator", "attest", str(node.directory), *arguments])


def test_the_request_says_what_a_quote_has_to_carry(node: Node) -> None:
    files = quote_files(node)
    binding = files.request(EPOCH_ID)
    words = json.loads((files.directory / "request.json").read_text())

    assert (
        words["report_data"] == binding.report_data().hex() == (files.directory / "report-data.bin").read_bytes().hex()
    )
    assert (files.directory / "qualifying-data.bin").read_bytes() == binding.qualifying_data()
    assert (binding.nonce, binding.epoch, binding.code) == (EPOCH_ID.hex(), node.epoch, measure_package())
    key = load_certificate(node.kit.certificate.read_bytes()).public_key()
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert binding.tls_key == hashlib.sha256(der).hexdigest()


def test_the_command_makes_evidence_that_is_published_once(node: Node, tmp_path: Path) -> None:
    files = quote_files(node)
    assert files.evidence(EPOCH_ID) is None
    done = command(node, *write_parts(node, tmp_path))

    assert done.exit_code == 0, done.output
    assert "as the constitution wants it" in done.output
    made = files.evidence(EPOCH_ID)
    assert made is not None
    assert Evidence.from_bytes(made).binding.nonce == EPOCH_ID.hex()
    own = own_attestation(node)
    assert own is not None
    assert own.is_awaited
    notes: list[str] = []
    assert own.due(EPOCH_ID, note=notes.append).evidence == made
    assert own.due(EPOCH_ID, note=notes.append) is None
    assert (own.is_awaited, notes) == (False, [])


def test_evidence_of_the_epoch_before_is_not_published(node: Node, tmp_path: Path) -> None:
    quote_files(node).request(EPOCH_ID)
    assert command(node, *write_parts(node, tmp_path)).exit_code == 0

    assert quote_files(node).evidence(b"\x22" * 32) is None


def test_a_quote_that_members_would_refuse_is_not_kept(node: Node, tmp_path: Path) -> None:
    quote_files(node).request(EPOCH_ID)
    done = command(node, *write_parts(node, tmp_path, REGISTERS | {"pcr7": "00" * 32}))

    assert isinstance(done.exception, AttestationError)
    assert not (node.work / "attestation" / "evidence.json").exists()


def test_without_a_request_there_is_nothing_to_attest(node: Node, tmp_path: Path) -> None:
    (tmp_path / "quote.bin").write_bytes(b"")
    done = command(node, "--technology", "tpm", "--quote", str(tmp_path / "quote.bin"))

    assert isinstance(done.exception, AttestationError)
    assert "hansa coordinator run" in str(done.exception)


@pytest.mark.parametrize("words", ["{}", "[", '{"binding": 3}'])
def test_a_damaged_request_is_named(node: Node, tmp_path: Path, words: str) -> None:
    quote_files(node).request(EPOCH_ID)
    arguments = write_parts(node, tmp_path)
    (node.work / "attestation" / "request.json").write_text(words)

    assert isinstance(command(node, *arguments).exception, ConfigurationError | AttestationError)


def test_a_constitution_that_asks_for_none_gets_none(tmp_path: Path) -> None:
    silent = load_node(folders.found(tmp_path) / "coordinator")
    (tmp_path / "quote.bin").write_bytes(b"")

    assert own_attestation(silent) is None
    done = command(silent, "--technology", "tdx", "--quote", str(tmp_path / "quote.bin"))
    assert isinstance(done.exception, ConfigurationError)


def test_an_unknown_technology_is_refused(node: Node, tmp_path: Path) -> None:
    done = command(node, "--technology", "magic", "--quote", str(tmp_path / "quote.bin"))

    assert isinstance(done.exception, ConfigurationError)
    assert "tdx, sgx, sev-snp, tpm" in str(done.exception)


def test_damaged_evidence_is_noted_not_fatal(node: Node) -> None:
    files = quote_files(node)
    files.request(EPOCH_ID)
    notes: list[str] = []
    for content in (b"{", b" " * (MAX_BYTES + 1)):
        (files.directory / "evidence.json").write_bytes(content)
        assert OwnAttestation(files.evidence, is_required=True).due(EPOCH_ID, note=notes.append) is None

    assert all(note.startswith("AttestationError") for note in notes)
    assert len(notes) == 2


def test_parts_are_read_by_name(tmp_path: Path) -> None:
    (tmp_path / "quote").write_bytes(b"q")
    (tmp_path / "intel.json").write_text('{"b": 1, "a": 2}')
    raw, parts = read_parts(tmp_path / "quote", [f"intel={tmp_path / 'intel.json'}", f"vcek={tmp_path / 'quote'}"])

    assert (raw, parts) == (b"q", {"intel": '{"a":2,"b":1}', "vcek": base64.b64encode(b"q").decode()})


@pytest.mark.parametrize("part", ["vcek", "=x", "vcek="])
def test_a_part_without_a_name_or_a_file_is_refused(tmp_path: Path, part: str) -> None:
    with pytest.raises(ConfigurationError, match="NAME=FILE"):
        read_parts(tmp_path / "quote", [part])


def test_a_file_that_is_not_there_or_too_large_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        read_parts(tmp_path / "quote", [])
    (tmp_path / "quote").write_bytes(b" " * (MAX_BYTES + 1))
    with pytest.raises(ConfigurationError, match="no part of a quote"):
        read_parts(tmp_path / "quote", [])
