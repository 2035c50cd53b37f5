"""Every error that hansa raises, in one tree.

```
HansaError
├── DataError            a file or a frame of bars is not what its reader expects: file, row, reason
├── ConfigurationError   hansa.toml, an option or the constitution is unknown, missing or contradictory
├── IdentityError        a kit, a key or a certificate is missing, damaged or somebody else's
│   └── SignatureError   a signature does not verify
├── MessageError         bytes from the network are malformed, too large or of the wrong type
├── TransportError       the message server cannot be reached or refuses a request
├── ProtocolError        a step of a secure sum is out of order or contradicts the manifest
│   ├── RefusedError     the member's own check says no: the reason names the clause
│   │   ├── BudgetError  the privacy budget of the constitution would be exceeded
│   │   └── AttestationError  a quote is missing, damaged, out of date or of another machine or epoch
│   ├── EquivocationError  two different messages where the protocol allows one
│   └── SessionDiedError   too few members took part; nothing was opened
├── StoreError           the node's durable facts are missing, damaged or contradict the stream
├── LogError             the transparency log contradicts itself, or a proof from it does not hold
└── ModelError           an artefact, a statistic or an input of the model has the wrong shape or schema
```

A message says what was expected, what came, and what to do. It never holds a secret or a row of data.
"""

from __future__ import annotations


class HansaError(Exception):
    """Root of every error that hansa raises on purpose."""


class DataError(HansaError):
    """A file or a frame of bars is not what its reader expects."""


class ConfigurationError(HansaError):
    """A setting is unknown, missing or contradictory."""


class IdentityError(HansaError):
    """A kit, a key or a certificate is missing, damaged or belongs to somebody else."""


class SignatureError(IdentityError):
    """A signature does not verify."""


class MessageError(HansaError):
    """Bytes from the network are malformed, too large or of the wrong type."""


class TransportError(HansaError):
    """The message server cannot be reached or refuses a request."""


class ProtocolError(HansaError):
    """A step of a secure sum is out of order or contradicts its manifest."""


class RefusedError(ProtocolError):
    """This node's own check says no; the reason names the clause."""


class BudgetError(RefusedError):
    """A privacy budget of the constitution would be exceeded."""


class AttestationError(RefusedError):
    """The coordinator's quote is missing, damaged, out of date, or of another machine, code, key or epoch."""


class EquivocationError(ProtocolError):
    """Two different messages came where the protocol allows one."""


class SessionDiedError(ProtocolError):
    """Too few members took part; nothing was opened."""


class StoreError(HansaError):
    """Durable facts of this node are missing, damaged or contradict the stream."""


class LogError(HansaError):
    """The transparency log contradicts itself, or a proof from it does not hold.

    Args:
        message: What was expected, what came, what to do.
        fault: The name of what the log's operator did, where that is shown: `split view`, `rewind` and so on.
    """

    def __init__(self, message: str, *, fault: str = "") -> None:
        super().__init__(message)
        self.fault = fault


class ModelError(HansaError):
    """An artefact, a statistic or an input of the model has the wrong shape or schema."""
