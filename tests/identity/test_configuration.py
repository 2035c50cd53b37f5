from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansa.errors import ConfigurationError
from hansa.identity.configuration import (
    AlertsConfiguration,
    DataConfiguration,
    KeysConfiguration,
    NatsConfiguration,
    NodeConfiguration,
)

printable = st.text(st.characters(exclude_categories=["C"]), max_size=30)


@given(printable, st.lists(printable, max_size=3), st.integers(0, 65535))
def test_a_configuration_survives_its_file(text: str, markets: list[str], port: int) -> None:
    configuration = NodeConfiguration(
        "north",
        "baltic",
        "member",
        NatsConfiguration(url=text, port=port),
        DataConfiguration(directory=text, markets=tuple(markets)),
        AlertsConfiguration(webhook=text, fix_file=text, events_port=port, oldest_hours=1.5),
    )
    assert NodeConfiguration.from_toml(configuration.to_toml()) == configuration


@pytest.mark.parametrize(
    ("line", "place"),
    [
        ("epsilon = 9.0", "epsilon"),
        ("[nats]\npassword = 'x'", "nats"),
        ("[nats]\nport = 70000", "nats.port"),
        ("[nats]\nreplicas = 0", "nats.replicas"),
        ("[data]\nbar_seconds = 0", "data.bar_seconds"),
        ("[data]\nmarkets = 'USDC-USD'", "data.markets"),
        ("[data", "hansa.toml"),
        ("[alerts]\nfix_port = 70000", "alerts.fix_port"),
        ("[alerts]\nevents_listen = '0.0.0.0'", "alerts.events_listen"),
        ("[alerts]\nfix_listen = '10.0.0.1'", "alerts.fix_listen"),
        ("[alerts]\nfix_sender = ''", "alerts.fix_sender"),
        ("[alerts]\noldest_hours = 0.0", "alerts.oldest_hours"),
        ("[alerts]\nemail = 'x'", "alerts"),
    ],
)
def test_an_unknown_mistyped_or_impossible_key_is_refused_with_its_place(line: str, place: str) -> None:
    text = f"name = 'north'\nfederation = 'baltic'\nrole = 'member'\n{line}\n"
    with pytest.raises(ConfigurationError, match=place):
        NodeConfiguration.from_toml(text)


def test_a_malformed_name_or_role_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="name"):
        NodeConfiguration("No Name", "baltic", "member")
    with pytest.raises(ConfigurationError, match="role"):
        NodeConfiguration.from_toml("name = 'north'\nfederation = 'baltic'\nrole = 'king'\n")


def test_keys_survive_their_text_and_name_no_secret() -> None:
    keys = KeysConfiguration(
        store="pkcs11", module="/m.so", token='to"ken', slot=3, pin="env:PIN", environment={"SOFTHSM2_CONF": "/a b"}
    )
    written = NodeConfiguration("north", "baltic", "member", keys=keys)
    assert NodeConfiguration.from_toml(written.to_toml()) == written


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"pin": "hunter2"}, "keys.pin: expected file:PATH"),
        ({"passphrase": "hunter2"}, "keys.passphrase: expected file:PATH"),
        ({"slot": -2}, "keys.slot"),
        ({"token": "x" * 33}, "keys.token"),
        ({"label": "a\nb"}, "keys.label"),
        ({"label": ""}, "keys.label"),
        ({"environment": {"LD_PRELOAD": "/x.so"}}, "keys.environment: 'LD_PRELOAD'"),
        ({"environment": {"a b": "x"}}, "keys.environment"),
    ],
)
def test_impossible_keys_are_refused_without_repeating_a_secret(change: dict[str, object], reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason) as caught:
        NodeConfiguration("north", "baltic", "member", keys=KeysConfiguration(**change))  # type: ignore[arg-type]
    assert "hunter2" not in str(caught.value)
