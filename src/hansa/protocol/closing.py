"""What a death notice is worth: enough members' word that they will not open a session proves that nobody can.

The coordinator says that a session died; that alone proves nothing, for it may have opened the sum before. A member
that hears it closes the session for good, on disk, and if it has answered no call it says so (`Closed`, signed, on the
board). With `n - t + 1 + c` such statements of n participants, c of them liars, at least `n - t + 1` honest members
have given no partial decryption and never will; fewer than t are left, so the sum stays closed for ever and what a
member had charged for it can be released.

Guarantees: a charge is released only when no t participants can have opened the sum, if at most c of them lie.
Does NOT guarantee: a release; with too few statements the charge stays, as if the sum had been opened.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hansa.errors import MessageError, RefusedError
from hansa.protocol.messages import Closed, open_envelope

if TYPE_CHECKING:
    from hansa.protocol.limits import Limits
    from hansa.protocol.messages import Manifest


def statements_needed(participants: int, limits: Limits) -> int:
    """Return how many members' statements prove that a session of so many participants stays closed."""
    return participants - limits.threshold + 1 + limits.colluders


class Closures:
    """The statements about sessions; one counts whether it comes before the death notice or after.

    Args:
        limits: The constitution's limits.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._known: dict[str, tuple[Manifest, set[str]]] = {}

    def know(self, manifest: Manifest) -> None:
        """Note a session's manifest: statements about it count from now on."""
        self._known.setdefault(manifest.session, (manifest, set()))

    def add(self, sender: str, session: str, body: bytes) -> Manifest | None:
        """Take a member's statement; return the manifest once, when this one makes enough of them.

        Raises:
            RefusedError: The session is not known here.
            MessageError: It is of another manifest, or not of a participant.
            SignatureError: It is not signed by that member.
        """
        if session not in self._known:
            raise RefusedError(f"{session}: a statement that it is closed; we do not know the session")
        manifest, said = self._known[session]
        if sender not in manifest.participants:
            raise MessageError(f"{session}: {sender[:40]} is not a participant")
        statement = open_envelope(body, Closed, sender=sender, key=self._limits.keys[sender])
        if statement.manifest != manifest.digest():
            raise MessageError(f"{session}: the statement of {sender} is about another manifest")
        before = len(said)
        said.add(sender)
        is_enough = before < len(said) == statements_needed(len(manifest.participants), self._limits)
        return manifest if is_enough else None
