"""A webhook: each alert as one HTTPS POST, signed, tried again until the receiver says that it has it.

```
POST <url>                       body: the alert as JSON
Hansa-Alert: <digest>            the same for every copy: receivers tell copies by it
Hansa-Signature: t=<unix s>,v1=<hex>          HMAC-SHA-256(secret, "<t>." + body)
```
A receiver checks the signature, and that `t` is near its own clock, and answers 2xx; anything else is tried again.

Guarantees: certificates are checked by the system's authorities; no redirect is followed; plain HTTP goes to this
machine only; a name or password in the address is refused. Does NOT guarantee one delivery: at least one.

Source: RFC 2104 (HMAC), RFC 9110 (HTTP).
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import ssl
from importlib.metadata import version
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from hansa.errors import ConfigurationError, TransportError

if TYPE_CHECKING:
    from urllib.parse import SplitResult

    from hansa.federation.alerts import Alert

CHANNEL: Final = "webhook"
LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
LEAST_SECRET_BYTES: Final = 16
SECONDS: Final = 10.0


def check_address(url: str) -> SplitResult:
    """Return the parts of a webhook's address.

    Raises:
        ConfigurationError: It is not `https://host/path` (or `http://` on this machine).
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ConfigurationError(f"hansa.toml: alerts.webhook: {error}; write https://host/path") from error
    is_allowed = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)
    if not is_allowed or not parts.hostname or parts.username or parts.password or parts.fragment or port == 0:
        raise ConfigurationError(
            "hansa.toml: alerts.webhook: expected https://host/path, without a name, a password or a fragment "
            "(http:// on this machine only)"
        )
    return parts


def signature(secret: bytes, body: bytes, at_seconds: int) -> str:
    """Return the value of `Hansa-Signature`.

    >>> signature(b"k" * 16, b"{}", 1)[:10]
    't=1,v1=0d3'
    """
    words = hmac.new(secret, f"{at_seconds}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at_seconds},v1={words}"


def is_signed(secret: bytes, body: bytes, header: str, *, now_seconds: int, tolerance_seconds: int = 300) -> bool:
    """Say whether a body carries this secret's signature of about now: what a receiver checks."""
    fields = dict(part.split("=", 1) for part in header.split(",") if "=" in part)
    if not fields.get("t", "").isdecimal() or abs(now_seconds - int(fields["t"])) > tolerance_seconds:
        return False
    return hmac.compare_digest(signature(secret, body, int(fields["t"])), f"t={fields['t']},v1={fields.get('v1', '')}")


def alert_body(alert: Alert) -> bytes:
    """Return the JSON of an alert."""
    return json.dumps(alert.body(), sort_keys=True, separators=(",", ":")).encode()


def post(url: str, secret: bytes, alert: Alert, *, now_seconds: int, seconds: float = SECONDS) -> None:
    """Send one alert.

    Args:
        url: Address of the receiver.
        secret: Shared with it.
        alert: What to send.
        now_seconds: Unix time that is signed.
        seconds: How long the receiver may take.

    Raises:
        TransportError: It cannot be reached, or did not answer 2xx.
        ConfigurationError: The address or the secret cannot be used.
    """
    parts = check_address(url)
    if len(secret) < LEAST_SECRET_BYTES:
        raise ConfigurationError(f"webhook: expected a secret of {LEAST_SECRET_BYTES} bytes or more; got {len(secret)}")
    body = alert_body(alert)
    headers = {
        "Content-Type": "application/json",
        "User-Agent": f"hansa/{version('hansa')}",
        "Hansa-Alert": alert.digest,
        "Hansa-Signature": signature(secret, body, now_seconds),
    }
    host = parts.hostname or ""
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        connection = http.client.HTTPSConnection(
            host, parts.port, timeout=seconds, context=ssl.create_default_context()
        )
    else:
        connection = http.client.HTTPConnection(host, parts.port, timeout=seconds)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        connection.request("POST", path, body, headers)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        raise TransportError(f"webhook at {host}: {type(error).__name__}: {error}; it is tried again") from error
    finally:
        connection.close()
    if not 200 <= status < 300:
        raise TransportError(f"webhook at {host}: expected an answer of 2xx, got {status}; it is tried again")
