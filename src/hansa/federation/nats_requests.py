"""Questions to JetStream that are asked until they are answered: store, fetch, manage.

Each attempt waits `PATIENCE_SECONDS` and the time its bytes need on a slow line, each later attempt twice as long as
the one before; a question of which the connection broke is asked again at once when it stands.

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

PATIENCE_SECONDS: Final = 2.0  # of the first attempt of a small question
PATIENCE_DOUBLINGS: Final = 4
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
        attempts = 0
        while True:
            reply = await self._attempt(subject, payload, attempts)
            if reply is None:
                attempts += 1
                continue
            answer = json.loads(reply.data or b"{}")
            error = answer.get("error")
            if error is None and "seq" in answer:
                return True
            code, text = (error or {}).get("err_code"), (error or {}).get("description", "no stream listens")
            if code == _SUBJECT_TAKEN and _TAKEN_TEXT in text:
                return attempts > 0
            if error is not None and code not in _NOT_YET:
                raise TransportError(
                    f"publish {subject}: the server cannot store it ({text}); check the disk and "
                    "max_store_bytes of the message server"
                )
            await asyncio.sleep(PAUSE_SECONDS)

    async def ask(self, interface: str, question: dict[str, Any]) -> dict[str, Any]:
        """Call the JetStream interface, through disconnections, elections and recoveries.

        Raises:
            TransportError: The server refuses, for good, or the connection was closed.
        """
        attempts = 0
        while True:
            answer = await self.ask_once(interface, question, attempts=attempts)
            if answer is None:
                attempts += 1
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            error = answer.get("error")
            if error is None or error.get("err_code") == _NO_MESSAGE:
                return answer
            raise TransportError(
                f"{interface}: the server refuses ({error.get('description', error)}); if the streams belong to an "
                "older plan, name a new federation or an empty store"
            )

    async def ask_once(self, interface: str, question: dict[str, Any], *, attempts: int = 0) -> dict[str, Any] | None:
        """Return the answer, an error included, or None if the server cannot answer yet or was lost.

        Raises:
            TransportError: The certificate does not permit it, or the connection was closed.
        """
        reply = await self._attempt(f"{self._prefix}.{interface}", json.dumps(question).encode(), attempts)
        answer: dict[str, Any] = json.loads(reply.data or b"{}") if reply is not None else {}
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
        attempts = 0
        while True:
            reply = await self._attempt(f"{self._prefix}.DIRECT.GET.{stream}.{subject}", b"", attempts)
            headers = (reply.headers if reply is not None else None) or {}
            if reply is not None and "Nats-Sequence" in headers:  # the server's, beside the writer's own headers
                return reply.data
            if headers.get("Status") == "404":
                return None
            attempts += reply is None
            await asyncio.sleep(PAUSE_SECONDS)  # the stream is not there yet, or its server was lost

    async def _attempt(self, subject: str, payload: bytes, attempts: int) -> Msg | None:
        seconds = PATIENCE_SECONDS + len(payload) / SLOW_BYTES_PER_SECOND
        try:
            return await self._connection.request(
                subject, payload, seconds=seconds * 2 ** min(attempts, PATIENCE_DOUBLINGS)
            )
        except (DisconnectedError, TimeoutError) as error:
            logger.info("%s: asked again after %s", subject, type(error).__name__)
            return None
