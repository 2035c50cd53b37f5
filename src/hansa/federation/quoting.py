"""Where the coordinator's quote comes from: files that the platform's own tool writes.

| file in `node/attestation/` | written by | is |
|---|---|---|
| request.json | the coordinator, once the epoch is set up | the binding, and the report data in hexadecimal |
| report-data.bin | the coordinator | the 64 bytes that TDX, SGX and SEV-SNP quotes must carry |
| qualifying-data.bin | the coordinator | the 32 bytes that a TPM's quote must carry |
| evidence.json | `hansa coordinator attest`, from what the platform's tool gave | the evidence to publish |

Nothing here talks to hardware: a tool that does (a TSM report in configfs, `snpguest`, `tpm2_quote`) is watched for the
request and answers with files (docs/how-to/run-a-confidential-coordinator.md).

Guarantees: evidence is published only if its binding is today's and its quote carries today's report data.
Does NOT guarantee: that the quote is valid; members judge that.
"""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from hansa.errors import AttestationError, ConfigurationError
from hansa.identity.attestation.binding import Binding
from hansa.identity.attestation.evidence import MAX_BYTES, Evidence
from hansa.identity.attestation.intel import intel_collateral
from hansa.identity.attestation.measurement import measure_package
from hansa.identity.attestation.verification import Known, Verdict, attest
from hansa.identity.certificates import load_certificate
from hansa.protocol.messages import Attested

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Sequence

    from hansa.federation.node import Node
    from hansa.identity.attestation.clause import Technology

FOLDER: Final = "attestation"


class QuoteFiles:
    """The folder of one coordinator.

    Args:
        directory: `node/attestation`, made if absent.
        binding: Of an epoch's id: what a quote has to be bound to.
    """

    def __init__(self, directory: Path, binding: Callable[[bytes], Binding]) -> None:
        self.directory = directory
        self._binding = binding
        self._asked: bytes | None = None
        self._read: tuple[int, bytes | None] = (0, None)

    def request(self, epoch_id: bytes) -> Binding:
        """Write what a quote has to carry, if it is not written yet; return the binding.

        Raises:
            ConfigurationError: The folder cannot be written.
        """
        binding = self._binding(epoch_id)
        if self._asked != epoch_id:
            words = {"binding": json.loads(binding.to_bytes()), "report_data": binding.report_data().hex()}
            words["qualifying_data"] = binding.qualifying_data().hex()
            try:
                self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                (self.directory / "report-data.bin").write_bytes(binding.report_data())
                (self.directory / "qualifying-data.bin").write_bytes(binding.qualifying_data())
                _write_whole(
                    self.directory / "request.json", json.dumps(words, indent=1, sort_keys=True).encode() + b"\n"
                )
            except OSError as error:
                raise ConfigurationError(f"{self.directory}: {error.strerror}; correct its owner and mode") from error
            self._asked = epoch_id
        return binding

    def evidence(self, epoch_id: bytes) -> bytes | None:
        """Return the evidence to publish for an epoch, or None while there is none that fits it.

        Raises:
            AttestationError: evidence.json is damaged.
            ConfigurationError: The folder cannot be read or written.
        """
        binding = self.request(epoch_id)
        path = self.directory / "evidence.json"
        try:
            found = path.stat()
            changed = found.st_mtime_ns
            if found.st_size > MAX_BYTES:
                raise AttestationError(f"{path}: {found.st_size} bytes; at most {MAX_BYTES} are allowed")
            if self._read[0] != changed:
                self._read = (changed, _fitting(path.read_bytes(), binding))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigurationError(f"{path}: {error.strerror}; correct its owner and mode") from error
        return self._read[1]


class OwnAttestation:
    """What a coordinator publishes of its own machine.

    Args:
        source: Returns evidence for an epoch's id, or None while there is none.
        is_required: Whether members wait for it: then no sum is announced before.
    """

    def __init__(self, source: Callable[[bytes], bytes | None], *, is_required: bool) -> None:
        self._source = source
        self.is_awaited = is_required
        self._published: bytes | None = None

    def due(self, epoch_id: bytes, *, note: Callable[[str], None]) -> Attested | None:
        """Return evidence that is not published yet, if there is any; what is wrong with it is noted."""
        try:
            evidence = self._source(epoch_id)
        except (AttestationError, ConfigurationError) as error:
            note(f"{type(error).__name__}: {error}")
            return None
        if evidence is None:
            if self.is_awaited:
                note("no quote for this epoch yet; members refuse every sum until `hansa coordinator attest` makes one")
            return None
        self.is_awaited = False
        if evidence == self._published:
            return None
        self._published = evidence
        return Attested(epoch_id, evidence)


def own_attestation(node: Node) -> OwnAttestation | None:
    """Return a coordinator's attestation, None where its constitution asks for none."""
    clause = node.constitution.attestation
    if clause is None or clause.policy == "off":
        return None
    return OwnAttestation(quote_files(node).evidence, is_required=clause.policy == "require")


def quote_files(node: Node) -> QuoteFiles:
    """Return the folder of a coordinator."""
    coordinator = node.constitution.coordinator
    certificate = load_certificate(node.kit.certificate.read_bytes()).public_key()
    tls_key = hashlib.sha256(certificate.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()
    code = measure_package()

    def binding(epoch_id: bytes) -> Binding:
        return Binding(
            federation=node.constitution.federation,
            epoch=node.epoch,
            nonce=epoch_id.hex(),
            identity_key=coordinator.identity_key,
            tls_key=tls_key,
            log_key="",
            code=code,
        )

    return QuoteFiles(node.work / FOLDER, binding)


def _fitting(text: bytes, binding: Binding) -> bytes | None:
    evidence = Evidence.from_bytes(text)
    if evidence.binding != binding or binding.carried_by(evidence.technology) not in evidence.raw_quote():
        return None  # of an epoch before
    return evidence.to_bytes()


def assemble(
    node: Node, technology: Technology, quote: bytes, collateral: dict[str, str], *, at: dt.datetime
) -> Verdict:
    """Make `evidence.json` of what the platform's tool gave, once it passes the constitution's clause.

    Args:
        node: The coordinator's folder.
        technology: Whose quote it is.
        quote: Its bytes.
        collateral: As `Evidence` has it.
        at: The time now, with a time zone.

    Raises:
        AttestationError: There is no request yet, or members would refuse the quote; nothing is written.
        ConfigurationError: The constitution asks for no quote, or a file cannot be read or written.
    """
    clause = node.constitution.attestation
    if clause is None or clause.policy == "off":
        raise ConfigurationError("constitution: attestation: it asks for no quote; nothing was written")
    folder, binding = node.work / FOLDER, requested(node)
    evidence = Evidence(technology, base64.b64encode(quote).decode(), collateral, binding)
    known = Known(binding.federation, node.epoch, binding.nonce, node.constitution.coordinator.identity_key)
    verdict = attest(evidence, clause=clause, known=known, at=at)
    try:
        _write_whole(folder / "evidence.json", evidence.to_bytes())
    except OSError as error:
        raise ConfigurationError(f"{folder}: {error.strerror}; correct its owner and mode") from error
    return verdict


def requested(node: Node) -> Binding:
    """Return what the coordinator asks a quote to be bound to.

    Raises:
        AttestationError: There is no request yet.
        ConfigurationError: It cannot be read.
    """
    path = node.work / FOLDER / "request.json"
    try:
        words = json.loads(path.read_text())
        return Binding.from_bytes(json.dumps(words["binding"]).encode())
    except FileNotFoundError as error:
        raise AttestationError(f"{path}: not there; `hansa coordinator run` writes it once the epoch is up") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(f"{path}: {error}; delete it and start the coordinator again") from error


def read_parts(quote: Path, parts: Sequence[str]) -> tuple[bytes, dict[str, str]]:
    """Read a quote and the `NAME=FILE` parts of its collateral.

    Raises:
        ConfigurationError: A part is not of that form, or a file cannot be read.
        AttestationError: Intel's collateral is not JSON.
    """
    collateral: dict[str, str] = {}
    for one in parts:
        name, separator, path = one.partition("=")
        if not (name and separator and path):
            raise ConfigurationError(f"--part: expected NAME=FILE, got {one!r}")
        content = _content(Path(path))
        if name == "intel":
            collateral |= intel_collateral(content.decode(errors="replace"))
        else:
            collateral[name] = base64.b64encode(content).decode()
    return _content(quote), collateral


def _write_whole(path: Path, content: bytes) -> None:
    """Let a file appear whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(content)
    partial.replace(path)


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}; give the file that the platform's tool wrote") from error
    if len(content) > MAX_BYTES:
        raise ConfigurationError(f"{path}: more than {MAX_BYTES} bytes; this is no part of a quote")
    return content
