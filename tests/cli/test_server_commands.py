from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from federation.nats_federation import free_ports
from hansa.cli import app
from hansa.errors import ConfigurationError, TransportError
from hansa.lab.alliance import COORDINATOR, Alliance, found
from hansa.lab.bench import bench_constitution

if TYPE_CHECKING:
    from pathlib import Path

MEMBERS = ("m00", "m01", "m02")
ROUTES = "a.example:6222,b.example:6222,c.example:6222"


@pytest.fixture
def alliance(tmp_path: Path) -> Alliance:
    constitution = partial(bench_constitution, length=10, sums=1)
    return found(tmp_path / "alliance", "bench", dict.fromkeys(MEMBERS, ()), constitution)


def arguments(kit: Path, store: Path, routes: str = ROUTES) -> list[str]:
    return [str(kit), "--name", "a", "--routes", routes, "--store", str(store)]


def test_the_exported_configuration_has_every_account_and_no_secret(alliance: Alliance, tmp_path: Path) -> None:
    kit = alliance.directory / COORDINATOR
    shown = CliRunner().invoke(app, ["server", "config", *arguments(kit, tmp_path / "store")], catch_exceptions=False)
    rendered = json.loads(shown.stdout)
    assert set(rendered["accounts"]) == {"HUB_bench", *(f"MEMBER_{name}" for name in MEMBERS)}
    assert rendered["cluster"]["routes"] == [f"tls://{one}" for one in ROUTES.split(",")]
    assert rendered["server_name"] == "hansa-bench-a"
    assert (kit / "node.key").read_text().splitlines()[1] not in shown.stdout


def test_a_members_kit_and_two_servers_are_refused(alliance: Alliance, tmp_path: Path) -> None:
    member, kit = alliance.directory / "m00", alliance.directory / COORDINATOR
    with pytest.raises(ConfigurationError, match="kit of a member"):
        CliRunner().invoke(app, ["server", "config", *arguments(member, tmp_path)], catch_exceptions=False)
    two = arguments(kit, tmp_path, "a:1,b:2")
    with pytest.raises(TransportError, match="at least 3 servers"):
        CliRunner().invoke(app, ["server", "config", *two], catch_exceptions=False)


def test_a_server_runs_until_it_is_told_to_end(alliance: Alliance, tmp_path: Path) -> None:
    port, cluster_port, *others = free_ports(4)
    routes = ",".join(f"127.0.0.1:{one}" for one in (cluster_port, *others))
    store = tmp_path / "store"
    command = arguments(alliance.directory / COORDINATOR, store, routes)
    command += ["--listen", "127.0.0.1", "--port", str(port), "--cluster-port", str(cluster_port)]
    with subprocess.Popen([sys.executable, "-m", "hansa", "server", "run", *command], stderr=subprocess.DEVNULL) as run:
        deadline = time.monotonic() + 30.0
        while not (store / "port").exists():
            assert run.poll() is None
            assert time.monotonic() < deadline, "not in time"
            time.sleep(0.02)
        run.send_signal(signal.SIGTERM)
        assert run.wait(15) == 0
    assert (store / "port").read_text() == f"{port}\n"
