"""Questions to JetStream that are asked until they are answered: store, fetch, manage.

Without an answer for `PATIENCE_SECONDS`, and the time its bytes need on a slow line, a question is sent again, then
every twice that time; a question of which the connection broke is asked again at once when it stands.

Guarantees: an answer or a refusal is the server's; an attempt that was lost with a server is repeated within seconds.
Does NOT guarantee: an end while no server answers; `close` of the connection ends it.

Source: docs.nats.io, "JetStream wire API reference"; NATS ADR-31 (direct get).
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from typing import TYPE_CHECKING, Any, Final

from hansa.errors import TransportError
from hansa.federation.nats_accounts import COORDINATOR_INTERFACE, MEMBER_INTERFACE
from hansa.federation.nats_connection import DisconnectedError

if TYPE_CHECKING:
    from nats.aio.msg import Msg

    from hansa.federation.nats_connection import NatsConnection

PATIENCE_SECONDS: Final = 1.0  # of the first attempt of a small question; twice as much of every later one
ATTEMPT_PATIENCES: Final = 8  # an attempt stays open this many times as long as it takes to the next
SLOW_BYTES_PER_SECOND: Final = 125_000  # of a line that is still served
PAUSE_SECONDS: Final = 0.05  # before a question that the server cannot answer yet is asked again
_SUBJECT_TAKEN: Final = 10077  # stream store failed; the description says why
_TAKEN_TEXT: Final = "maximum messages per subject exceeded"
# JetStream starts, elects a leader, catches up, or waits for enough servers to hold the copies.
_NOT_YET: Final = frozenset({10004, 10005, 10008, 10009, 10023, 10118, 10119})
_NO_MESSAGE: Final = 10037  # nothing under this subject yet

logger = logging.getLogger(__name__)


class Requests:
    """JetStream's interface as one node reaches it.

    Args:
        connection: Of that node.
        coordinator: Whether it is the coordinator.
    """

    def __init__(self, connection: NatsConnection, *, coordinator: bool) -> None:
        self._connection = connection
        self._prefix = COORDINATOR_INTERFACE if coordinator else MEMBER_INTERFACE

    async def store(self, subject: str, payload: bytes) -> bool:
        """Publish until the server has answered; only this node writes here, so "taken" after doubt is success.

        Raises:
            TransportError: The server refuses (permission, disk full), or the connection was closed.
        """
        in_doubt = False
        while True:
            reply, may_be_mine = await self._answered(subject, payload)
            in_doubt = in_doubt or may_be_mine
            answer = json.loads(reply.data or b"{}")
            error = answer.get("error")
            if error is None and "seq" in answer:
                return True
            code, text = (error or {}).get("err_code"), (error or {}).get("description", "no stream listens")
            if code == _SUBJECT_TAKEN and _TAKEN_TEXT in text:
                return in_doubt
            if error is not None and code not in _NOT_YET:
                raise TransportError(
                    f"publish {subject}: the server cannot store it ({text}); check the disk and "
                    "max_store_bytes of the message server"
                )
            await asyncio.sleep(PAUSE_SECONDS)

    async def ask(self, interface: str, question: dict[str, Any], *, accepted: int = 0) -> dict[str, Any]:
        """Call the JetStream interface, through disconnections, elections and recoveries.

        Args:
            interface: Which call.
            question: Its argument.
            accepted: Code of an error that is an answer too.

        Raises:
            TransportError: The server refuses, for good, or the connection was closed.
        """
        while True:
            answer = await self.ask_once(interface, question)
            if answer is None:
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            error = answer.get("error")
            if error is None or error.get("err_code") in {_NO_MESSAGE, accepted}:
                return answer
            raise TransportError(
                f"{interface}: the server refuses ({error.get('description', error)}); if the streams belong to an "
                "older plan, name a new federation or an empty store"
            )

    async def ask_once(self, interface: str, question: dict[str, Any]) -> dict[str, Any] | None:
        """Return the answer, an error included, or None if the server cannot answer yet.

        Raises:
            TransportError: The certificate does not permit it, or the connection was closed.
        """
        reply, _ = await self._answered(f"{self._prefix}.{interface}", json.dumps(question).encode())
        answer: dict[str, Any] = json.loads(reply.data or b"{}")
        is_early = answer.get("error", {}).get("err_code") in _NOT_YET
        return None if not answer or is_early else answer

    async def stored(self, stream: str, subject: str) -> bytes | None:
        """Return what the stream's leader has under `subject`, or None; the newest truth.

        Raises:
            TransportError: As `ask`.
        """
        answer = await self.ask(f"STREAM.MSG.GET.{stream}", {"last_by_subj": subject})
        return base64.b64decode(answer["message"].get("data", "")) if "message" in answer else None

    async def stored_anywhere(self, stream: str, subject: str) -> bytes | None:
        """Return what some server of the stream has under `subject`, or None; in a cluster perhaps a moment late.

        Raises:
            TransportError: The certificate does not permit it, or the connection was closed.
        """
        while True:
            reply, _ = await self._answered(f"{self._prefix}.DIRECT.GET.{stream}.{subject}", b"")
            headers = reply.headers or {}
            if "Nats-Sequence" in headers:  # the server's, beside the writer's own headers
                return reply.data
            if headers.get("Status") == "404":
                return None
            await asyncio.sleep(PAUSE_SECONDS)  # the stream is not there yet

    async def _answered(self, subject: str, payload: bytes) -> tuple[Msg, bool]:
        """Return an answer, and whether an earlier attempt may have been acted on without one.

        An attempt stays open while later ones are made: its late answer tells more than theirs.
        """
        in_doubt = False
        first = patience = PATIENCE_SECONDS + len(payload) / SLOW_BYTES_PER_SECOND
        attempts: list[asyncio.Task[Msg]] = []
        try:
            while True:
                request = self._connection.request(subject, payload, seconds=ATTEMPT_PATIENCES * first)
                attempts.append(asyncio.create_task(request))
                await asyncio.wait(attempts, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
                for place, attempt in enumerate(attempts):
                    if attempt.done() and not isinstance(attempt.exception(), DisconnectedError | TimeoutError):
                        return attempt.result(), in_doubt or place > 0
                lost = [attempt for attempt in attempts if attempt.done()]
                in_doubt = in_doubt or bool(lost)
                attempts = [attempt for attempt in attempts if not attempt.done()]
                patience = 2 * first
                logger.info("%s: asked again, %d attempts open, %d lost", subject, len(attempts), len(lost))
        finally:
            for attempt in attempts:
                attempt.cancel()
            await asyncio.gather(*attempts, return_exceptions=True)
