"""Claims about an alliance of real processes on this machine: keys, ends, kills, restarts, logs."""

from __future__ import annotations

import json
import os
import signal
import stat
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest

from hansa.errors import ConfigurationError, DataError, SignatureError, StoreError, TransportError
from hansa.federation.member_service import run_member
from hansa.federation.node import connect, load_node, require_role
from hansa.federation.schedule import replay_programme
from hansa.governance.signed import SignedConstitution, read, write
from hansa.lab.alliance import COORDINATOR, Alliance, copy_of, found, free_port
from hansa.lab.charter import charter
from hansa.lab.collection import (
    budgets,
    bytes_by_member,
    final_hash,
    forecasts,
    notes,
    step_seconds,
    sum_hashes,
    sums,
    wait_for_members,
)
from hansa.lab.conduct import Span
from hansa.market.schema import conform
from simulator import BAR_NS, DAY_NS
from small_market import persistent
from tokens import require_softhsm, restore_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from hansa.governance.constitution import Constitution

MEMBERS = ("bergen", "riga", "visby")
START = 19_000 * DAY_NS
TRAIN = 2 * 288
SPAN = Span(START + TRAIN * BAR_NS, START + (TRAIN + 40) * BAR_NS, 4)


def bars(venue: str) -> pl.DataFrame:
    rng = np.random.default_rng(len(venue))
    count = TRAIN + 40
    spread = np.exp(persistent(rng, count, 1)[:, 0] + 0.2 * rng.standard_normal(count))
    frame = pl.DataFrame(
        {
            "ts_ns": [START + place * BAR_NS for place in range(1, count + 1)],
            "market": ["EUR-USD"] * count,
            "venue": [venue] * count,
            **dict.fromkeys(("open", "high", "low", "close"), [100.0] * count),
            "volume": rng.uniform(5.0, 15.0, count),
            "spread_bps": spread,
        }
    )
    return conform(frame, source="test")


def rules(keys: Mapping[str, str], coordinator_key: str) -> Constitution:
    return charter(
        federation="test", keys=keys, coordinator_key=coordinator_key, baskets={"eur": ["EUR-USD"]},
        measures=("log_spread", "log_volume"), cost="log_spread", volume_unit=1000.0, history_days=2, steps=0,
        weight_cap=0.5, upload_seconds=20.0,
    )  # fmt: skip


@pytest.fixture
def alliance(tmp_path: Path) -> Iterator[Alliance]:
    one = found(tmp_path / "alliance", "test", {name: [bars(name)] for name in MEMBERS}, rules)
    yield one
    one.stop()


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def until(condition: Callable[[], bool], *, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.02)


def server_pid(alliance: Alliance) -> int | None:
    """Return the process id of the message server that runs now, from the file that it keeps."""
    found_ports = list((alliance.directory / COORDINATOR / "node" / "server").glob("nats-server_*.ports"))
    alive = [int(path.name.removeprefix("nats-server_").removesuffix(".ports")) for path in found_ports]
    return next((pid for pid in alive if is_alive(pid)), None)


def pids(alliance: Alliance) -> list[int]:
    return [process.pid for process in alliance._processes.values()]


def log(alliance: Alliance, name: str) -> list[dict[str, object]]:
    text = (alliance.directory / name / "node" / "log.txt").read_text()
    return [json.loads(line) for line in text.splitlines()]


@contextmanager
def running(alliance: Alliance, options: list[str]) -> Iterator[None]:
    try:
        alliance.start_members()
        alliance.start_coordinator(options)
        yield
    finally:
        alliance.stop()


def published(alliance: Alliance) -> int:
    try:
        return sum(row["state"] == "published" for row in sums(alliance))
    except StoreError:  # no records yet
        return 0


def test_keys_are_readable_by_their_owner_alone_and_everybody_has_signed(alliance: Alliance) -> None:
    keys = sorted(alliance.directory.glob("*/*.key"))
    assert len(keys) == 1 + 2 * (len(MEMBERS) + 1)
    assert {stat.S_IMODE(key.stat().st_mode) for key in keys} == {0o600}
    for name in (*MEMBERS, COORDINATOR):
        assert set(read(alliance.directory / name / "constitution.json").signatures) == set(MEMBERS)
        load_node(alliance.directory / name)
    for name in MEMBERS:
        (file,) = (alliance.directory / name / "bars").iterdir()
        assert file.name == f"{name}_EUR-USD.parquet"
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_members_whose_keys_are_in_tokens_have_no_key_file_and_have_signed(tmp_path: Path) -> None:
    require_softhsm()
    before = os.environ.get("SOFTHSM2_CONF")
    try:
        one = found(tmp_path / "alliance", "test", {name: [bars(name)] for name in MEMBERS}, rules, is_hsm=True)
        for name in MEMBERS:
            node = load_node(one.directory / name)
            assert node.kit.signing_key.public.startswith("p256:")
            assert not (one.directory / name / "identity.key").exists()
            assert stat.S_IMODE((one.directory / name / "token.pin").stat().st_mode) == 0o600
        assert load_node(one.directory / COORDINATOR).kit.signing_key.algorithm == "ed25519"
    finally:
        restore_store(before)


def test_a_node_without_a_constitution_is_told_what_to_do(alliance: Alliance) -> None:
    folder = alliance.directory / "riga"
    (folder / "constitution.json").unlink()
    with pytest.raises(ConfigurationError, match=r"no constitution.json; copy the one that all members have signed"):
        load_node(folder)


def test_a_constitution_that_a_member_has_not_signed_is_refused(alliance: Alliance) -> None:
    folder = alliance.directory / "riga"
    signed = read(folder / "constitution.json")
    signatures = {name: one for name, one in signed.signatures.items() if name != "visby"}
    write(folder / "constitution.json", SignedConstitution(signed.constitution, signatures))
    with pytest.raises(SignatureError, match="visby"):
        load_node(folder)


def test_a_constitution_of_other_keys_is_refused(tmp_path: Path, alliance: Alliance) -> None:
    other = found(tmp_path / "other", "test", {name: [bars(name)] for name in MEMBERS}, rules)
    foreign = (other.directory / "riga" / "constitution.json").read_bytes()
    (alliance.directory / "riga" / "constitution.json").write_bytes(foreign)
    with pytest.raises(ConfigurationError, match="riga with this kit's key is not a party"):
        load_node(alliance.directory / "riga")


def test_a_kit_runs_as_what_it_is(alliance: Alliance) -> None:
    member, coordinator = (load_node(alliance.directory / name) for name in ("riga", COORDINATOR))
    require_role(member, "member")
    require_role(coordinator, "coordinator")
    with pytest.raises(ConfigurationError, match="hansa member run"):
        require_role(member, "coordinator")


async def test_a_member_without_bars_is_told_so_before_it_connects(alliance: Alliance) -> None:
    folder = alliance.directory / "riga"
    next((folder / "bars").iterdir()).unlink()
    with pytest.raises(DataError, match=r"EUR-USD; put bars of at least one of them there"):
        await run_member(load_node(folder), patience_seconds=0.1)


@pytest.mark.parametrize("url", ["tls://127.0.0.1:{port}", "tls://no-such-host.invalid:4222"])
async def test_a_wrong_address_is_a_clear_error(alliance: Alliance, url: str) -> None:
    folder = alliance.directory / "riga"
    text = (folder / "hansa.toml").read_text()
    wanted = url.format(port=free_port())
    (folder / "hansa.toml").write_text(text.replace('url = ""', f'url = "{wanted}"'))
    node = load_node(folder)
    assert node.url == wanted
    with pytest.raises(TransportError, match=wanted.removeprefix("tls://")):
        await connect(node, coordinator=False, patience_seconds=0.3)


def test_without_url_and_port_the_settings_are_asked_for(alliance: Alliance) -> None:
    folder = alliance.directory / "riga"
    text = (folder / "hansa.toml").read_text()
    lines = ["port = 0" if line.startswith("port =") else line for line in text.splitlines()]
    (folder / "hansa.toml").write_text("\n".join(lines))
    with pytest.raises(ConfigurationError, match=r"hansa.toml: nats: give the server's url"):
        assert load_node(folder).url


@pytest.mark.slow
def test_an_alliance_finishes_its_programme_and_leaves_no_process(alliance: Alliance) -> None:
    with running(alliance, SPAN.options()):
        alliance.wait(seconds=120)
        wait_for_members(alliance, SPAN.until_ns, seconds=60)
    assert not any(map(is_alive, pids(alliance)))
    assert server_pid(alliance) is None
    programme = replay_programme(
        load_node(alliance.directory / COORDINATOR).constitution, SPAN.as_of_ns, SPAN.until_ns, live_bars=4
    )
    assert [row["state"] for row in sums(alliance)] == ["published"] * len(programme)
    assert len(sum_hashes(alliance)) == len(programme)
    assert all(sent > 10_000 for sent in bytes_by_member(alliance).values())
    assert {row["purpose"] for row in budgets(alliance)} == {"census", "state", "gram"}
    assert step_seconds(alliance)["whole"] > 0
    arms, state = forecasts(alliance)
    assert state.shape == (TRAIN + 40, 1, 2)
    assert set(arms["federated_state"]) == set(MEMBERS)
    assert [notes(alliance, name) for name in MEMBERS] == [[]] * 3
    for name in MEMBERS:
        assert alliance._processes[name].returncode == 0, "a member that is told to stop ends in order"
        lines = log(alliance, name)
        assert [line["event"] for line in lines].count("sum published") == len(programme)
        assert (lines[0]["event"], lines[-1]["event"]) == ("member connected", "member stops")
        assert all(str(line["time"]).endswith("Z") for line in lines)
    assert log(alliance, COORDINATOR)[-1]["finished"] is True


@pytest.mark.slow
def test_no_process_is_left_when_what_watches_an_alliance_raises(alliance: Alliance) -> None:
    def impatient() -> None:
        if server_pid(alliance) is not None:
            raise RuntimeError("seen enough")

    with pytest.raises(RuntimeError, match="seen enough"), running(alliance, SPAN.options()):
        alliance.wait(seconds=60, progress=impatient)
    assert not any(map(is_alive, pids(alliance)))
    # Told to end before it had taken charge of its server, a coordinator leaves it to the parent-death signal.
    until(lambda: server_pid(alliance) is None, seconds=10)


@pytest.mark.slow
def test_a_member_that_ends_is_reported_with_its_log(alliance: Alliance) -> None:
    next((alliance.directory / "riga" / "bars").iterdir()).unlink()
    with (
        pytest.raises(TransportError, match=r"riga ended with code 2: .*put bars of at least one"),
        running(alliance, SPAN.options()),
    ):
        alliance.wait(seconds=60)


@pytest.mark.slow
def test_a_member_that_a_signal_killed_is_started_again_and_misses_nothing(alliance: Alliance) -> None:
    killed: list[int] = []

    def kill_once() -> None:
        if not killed and server_pid(alliance) is not None:
            killed.append(alliance.pid("riga"))
            os.kill(killed[0], signal.SIGKILL)

    with running(alliance, SPAN.options()):
        alliance.wait(seconds=120, progress=kill_once)
        wait_for_members(alliance, SPAN.until_ns, seconds=60)
        assert alliance.pid("riga") != killed[0]
    assert all(row["state"] == "published" for row in sums(alliance))


@pytest.mark.slow
def test_a_killed_coordinator_takes_its_server_with_it_and_a_restart_finishes_the_same_sums(
    alliance: Alliance, tmp_path: Path
) -> None:
    with running(alliance, ["--set-up-only"]):
        alliance.wait(seconds=60)
    calm = copy_of(alliance, tmp_path / "calm")
    with running(alliance, SPAN.options()):
        until(lambda: published(alliance) >= 2)
        server = server_pid(alliance)
        assert server is not None
        alliance.kill(COORDINATOR)
        until(lambda: not is_alive(server), seconds=10)
        alliance.restart(COORDINATOR)
        alliance.wait(seconds=120)
        wait_for_members(alliance, SPAN.until_ns, seconds=60)
    with running(calm, SPAN.options()):
        calm.wait(seconds=120)
        wait_for_members(calm, SPAN.until_ns, seconds=60)
    assert final_hash(alliance) == final_hash(calm)
    assert sum_hashes(alliance) == sum_hashes(calm)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_coordinator_in_service_ends_in_order_when_told_to(alliance: Alliance, number: signal.Signals) -> None:
    with running(alliance, []):
        until(lambda: bool((path := log_path(alliance, COORDINATOR)).exists() and path.read_text()))
        server = server_pid(alliance)
        assert server is not None
        process = alliance._processes[COORDINATOR]
        process.send_signal(number)
        assert process.wait(20) == 0
        assert not is_alive(server)
    lines = log(alliance, COORDINATOR)
    assert (lines[-1]["event"], lines[-1]["finished"]) == ("coordinator stops", False)


def log_path(alliance: Alliance, name: str) -> Path:
    return alliance.directory / name / "node" / "log.txt"


def test_a_failure_is_shown_without_the_events_before_it(tmp_path: Path) -> None:
    (tmp_path / "m1" / "node").mkdir(parents=True)
    (tmp_path / "m1" / "node" / "log.txt").write_text('{"event":"sum published"}\nhansa: the disk is full\n')
    assert Alliance(tmp_path, ("m1",))._log_end("m1") == "hansa: the disk is full"
