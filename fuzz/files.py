"""Targets that read files: certificates, kit requests, the model artefact, a node's records."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import os
import struct
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from safetensors import numpy as tensors

from hansa.cli.show import summary
from hansa.errors import HansaError
from hansa.federation.alerts import Alert
from hansa.federation.records import Records
from hansa.identity.certificates import (
    common_name,
    generate_key,
    issue_certificate,
    load_certificate,
    make_authority,
    make_request,
    verify_identity,
)
from hansa.identity.configuration import KeysConfiguration, NodeConfiguration
from hansa.identity.keys import make_passphrase_file
from hansa.identity.kit import REQUEST_TYPE, request_kit
from hansa.identity.tls import require_signed_by
from hansa.model.artefact import Arrays, Artefact, Schema
from hansa.model.design import QUANTILES, Design, feature_names
from sample_federation import key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from targets import Target

AT = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)


def _folder() -> Path:
    """Return a folder of this process alone: processes are forked."""
    folder = Path(tempfile.gettempdir()) / f"hansa-fuzz-{os.getpid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


@cache
def _authority() -> tuple[bytes, bytes, bytes, str, bytes]:
    secret, own = generate_key(), key("m00")
    authority = make_authority("fuzz", secret, at=AT)
    request = make_request("fuzz", "m00", own)
    leaf = issue_certificate(
        request, authority=authority, authority_key=secret, node="m00", identity_key=own.public, at=AT
    )
    return authority, secret, leaf, own.public, request


def _pem(label: str, der: bytes) -> bytes:
    return f"-----BEGIN {label}-----\n{base64.encodebytes(der).decode()}-----END {label}-----\n".encode()


def _der(pem: bytes) -> bytes:
    return base64.b64decode(b"".join(pem.splitlines()[1:-1]))


def certificate(data: bytes) -> None:
    """Read the input as the DER of a certificate, and as PEM, and check it against the authority."""
    authority, _, _, own, _ = _authority()
    for pem in (data, _pem("CERTIFICATE", data)):
        try:
            common_name(load_certificate(pem))
            verify_identity(pem, authority=authority, federation="fuzz", node="m00", identity_key=own, at=AT)
            require_signed_by(data, own, what="input")
        except HansaError:
            continue
    verify_identity(
        _authority()[2], authority=_pem("CERTIFICATE", data), federation="fuzz", node="m00", identity_key=own, at=AT
    )


def signing_request(data: bytes) -> None:
    """Answer the input as the DER of a signing request."""
    authority, secret, _, own, _ = _authority()
    issue_certificate(
        _pem("CERTIFICATE REQUEST", data),
        authority=authority,
        authority_key=secret,
        node="m00",
        identity_key=own,
        at=AT,
    )


def request_bytes() -> bytes:
    """Return a valid kit request."""
    directory = Path(tempfile.mkdtemp(prefix="kit-", dir=_folder()))
    keys = KeysConfiguration(passphrase=make_passphrase_file(directory))
    request_kit(directory, configuration=NodeConfiguration("m00", "fuzz", "member", keys=keys), key=key("m00"))
    return (directory / "request.json").read_bytes()


def model(data: bytes) -> None:
    """Read an artefact of `length u32 || model.json || model.safetensors`, the hash that ties them made afresh."""
    size = struct.unpack("<I", data[:4].ljust(4, b"\0"))[0] % (len(data) + 1)
    document, content = data[4 : 4 + size], data[4 + size :]
    try:
        tree = msgspec.json.decode(document)
        if isinstance(tree, dict):
            document = msgspec.json.encode(tree | {"tensors_sha256": hashlib.sha256(content).hexdigest()})
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    folder = _folder()
    (folder / "model.json").write_bytes(document)
    (folder / "model.safetensors").write_bytes(content)
    Artefact.load(folder)


def model_document(data: bytes) -> None:
    """Read an artefact whose tensors are right and whose model.json is the input."""
    content = _artefact()[1]
    model(struct.pack("<I", len(data)) + data + content)


@cache
def _artefact() -> tuple[bytes, bytes]:
    measures, baskets = ("log_spread", "log_depth"), ("a", "b")
    design = Design(lags=(1, 3))
    features = len(feature_names(design, measures))
    square, plain = np.zeros((2, 2)), np.zeros(2)
    wide = np.zeros((2, features))
    spread = np.zeros((2, len(QUANTILES)))
    arrays = Arrays(wide, wide, wide + 1, plain, plain + 1, spread, plain, plain, square, np.zeros(0))
    folder = Path(tempfile.mkdtemp(prefix="model-", dir=_folder()))
    Artefact(Schema(baskets, measures, "log_spread", design, ("ab" * 32,)), arrays).save(folder)
    tensors.load((folder / "model.safetensors").read_bytes())
    return (folder / "model.json").read_bytes(), (folder / "model.safetensors").read_bytes()


def records(data: bytes) -> None:
    """Read the input as a node's records, as `hansa status` does."""
    path = _folder() / "records" / "node" / "records.sqlite"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    summary(path)
    found = Records(path, read_only=True)
    try:
        found.get("name")
        found.alerts()
    finally:
        found.close()


def _records_bytes() -> bytes:
    path = Path(tempfile.mkdtemp(prefix="records-", dir=_folder())) / "records.sqlite"
    found = Records(path)
    found.put("name", {"a": 1})
    found.note(1, "s", "upload", "why")
    found.series("lsi", "a", [(1, 0.5)])
    found.alert(Alert("rule", "a", 1, 0.5))
    found.budget("gram", "2026", epsilon=1.0, allowed=2.0, delta=1e-6)
    found.rows("PRAGMA wal_checkpoint(TRUNCATE)")
    found.rows("PRAGMA journal_mode = DELETE")
    found.close()
    return path.read_bytes()


def file_targets(make: Callable[..., Target]) -> Iterable[Target]:
    """Return the targets of this module, made by the `Target` of the caller."""
    _, _, leaf, _, asked = _authority()
    document, content = _artefact()
    whole = struct.pack("<I", len(document)) + document + content
    yield make("certificate", certificate, (_der(leaf),))
    yield make("signing-request", signing_request, (_der(asked),))
    yield make("model", model, (whole,), max_bytes=16384, weight=1)
    yield make("model-document", model_document, (document,), "json", max_bytes=8192, weight=1)
    yield make("records", records, (_records_bytes(),), max_bytes=1 << 17, factor=50, weight=1)


__all__ = ["REQUEST_TYPE", "file_targets", "request_bytes"]
