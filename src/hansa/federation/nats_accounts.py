"""What each node may do at the message server: streams, accounts and permissions.

A member may publish its own steps under its own name; follow the board through consumers of its own `SLOTS` names that
deliver to its own `_INBOX_<name>`; fetch from board and post by address, from the inbox uploads alone (direct get,
whose subject names the message); and nothing else. The coordinator may do everything but delete.

Guarantees: a member reaches no other member's subject, reply or consumer, and holds at most `SLOTS` consumers.
Does NOT guarantee: that members cannot see that others took part, or use up disk space up to the server's limit.

Source: docs.nats.io, "Accounts" (exports, imports), "Authorization"; NATS ADR-8, ADR-31 (direct get).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from hansa.federation.transport import FETCHED_STEPS, MEMBER_STEPS, PREFIX, STEPS, Channel
from hansa.identity.certificates import node_uri

if TYPE_CHECKING:
    from collections.abc import Sequence

COORDINATOR_INTERFACE: Final = "$JS.API"  # JetStream's, where the streams live
MEMBER_INTERFACE: Final = "HUB.API"  # the part of it that a member reaches, from its own account
SLOTS: Final = 6  # consumers of one node on one stream; a hundred nodes stay below the server's thousand


def stream_name(federation: str, channel: Channel) -> str:
    """Return the name of a channel's stream: `HANSA_<federation>_<channel>`."""
    return f"HANSA_{federation}_{channel.value}"


def consumer_name(node: str, slot: int) -> str:
    """Return the name of a node's consumer number `slot`; no other node's consumer has it."""
    return f"{node}-{slot}"


def stream_configuration(federation: str, channel: Channel, *, replicas: int) -> dict[str, Any]:
    """Return what the coordinator asks of the server for one channel: one body per subject, for ever.

    Args:
        federation: Name in every subject.
        channel: Which one.
        replicas: Copies in a cluster.
    """
    steps = [step for step, home in STEPS.items() if home is channel]
    subjects = [f"{PREFIX}.{federation}.*.*.{step}.*" for step in steps]
    return {
        "name": stream_name(federation, channel),
        "subjects": [*subjects, *(f"{subject}.*.*" for subject in subjects)],
        "retention": "limits",
        "storage": "file",
        "discard": "new",
        "discard_new_per_subject": True,
        "max_msgs_per_subject": 1,
        "max_consumers": -1,
        "max_msgs": -1,
        "max_bytes": -1,
        "max_age": 0,
        "max_msg_size": -1,
        "num_replicas": replicas,
        "allow_direct": channel is Channel.INBOX,  # otherwise a permission cannot tell the steps apart
        "deny_delete": True,
        "deny_purge": True,
        "duplicate_window": 120_000_000_000,
    }


def member_permissions(federation: str, member: str) -> dict[str, dict[str, list[str]]]:
    """Return what one member may publish and subscribe; everything else is denied.

    Args:
        federation: Name in every subject.
        member: Node name.
    """
    return {
        "publish": {"allow": [*_own_services(federation, member), *_shared_services(federation)]},
        "subscribe": {"allow": [f"_INBOX_{member}.>"]},
    }


def accounts(federation: str, coordinator: str, members: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Give each member an account of its own that reaches the coordinator's through its own subjects alone.

    In one shared account a member could name another's empty subject as the reply to its own request, and the
    server's answer would take that subject's one place; across accounts the server keeps the reply on its side.

    Args:
        federation: Name in every subject.
        coordinator: Node with every permission.
        members: Nodes with a member's permissions.
    """
    hub = f"HUB_{federation}"
    names = [f"MEMBER_{member}" for member in members]
    shared = _shared_services(federation)
    exports = [{"service": _at_hub(one), "accounts": names} for one in shared if names]
    made: dict[str, dict[str, Any]] = {}
    for member, name in zip(members, names, strict=True):
        own, inbox = _own_services(federation, member), f"_INBOX_{member}.read.>"
        imports: list[dict[str, Any]] = [
            {"service": {"account": hub, "subject": _at_hub(one)}, "to": one} for one in (*own, *shared)
        ]
        imports.append({"stream": {"account": hub, "subject": inbox}})
        user = {"user": node_user(federation, member), "permissions": member_permissions(federation, member)}
        made[name] = {"users": [user], "imports": imports}
        exports += [{"service": _at_hub(one), "accounts": [name]} for one in own]
        exports.append({"stream": inbox, "accounts": [name]})
    everything = {"publish": ">", "subscribe": ">"}
    users = [{"user": node_user(federation, coordinator), "permissions": everything}]
    return {hub: {"jetstream": "enabled", "users": users, "exports": exports}, **made}


def node_user(federation: str, node: str) -> str:
    """Return the URI name in a node's certificate, by which the server knows it."""
    return node_uri(federation, node)


def _own_services(federation: str, member: str) -> list[str]:
    subjects = [f"{PREFIX}.{federation}.*.*.{step}.{member}" for step in sorted(MEMBER_STEPS)]
    chunks = [f"{subject}.*.*" for subject in subjects]  # <digest>.<index>
    board = stream_name(federation, Channel.BOARD)
    consumers = [f"{board}.{consumer_name(member, slot)}" for slot in range(SLOTS)]
    making = [f"{MEMBER_INTERFACE}.CONSUMER.{verb}.{one}" for one in consumers for verb in ("CREATE", "DELETE")]
    return [*subjects, *chunks, *making, *(f"$JS.FC.{one}.*" for one in consumers)]


def _shared_services(federation: str) -> list[str]:
    """Return what every member may ask of the streams; no consumer on inbox or post."""
    board, inbox, post = (stream_name(federation, one) for one in (Channel.BOARD, Channel.INBOX, Channel.POST))
    fetched = [f"{PREFIX}.{federation}.*.*.{step}.*" for step in sorted(FETCHED_STEPS) if STEPS[step] is Channel.INBOX]
    interface = [f"STREAM.MSG.GET.{board}", f"STREAM.MSG.GET.{post}"]
    interface += [f"DIRECT.GET.{inbox}.{subject}{chunk}" for subject in fetched for chunk in ("", ".*.*")]
    return [f"{MEMBER_INTERFACE}.{one}" for one in interface]


def _at_hub(service: str) -> str:
    return service.replace(MEMBER_INTERFACE, COORDINATOR_INTERFACE, 1)
