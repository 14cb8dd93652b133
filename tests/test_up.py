"""A coordinator and a hospital brought up by their commands: real processes, TLS and keys, as an operator sees them."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.enrolling import let_in
from tests.flowerline import ROOT, alive, free_port, until

from wardround.client.joining import join, make_request
from wardround.client.sitefile import FirstPolicy, create_site
from wardround.common.processfile import Standing, running
from wardround.common.trust.keyfile import PASSPHRASE
from wardround.common.trust.signed import utc_now
from wardround.common.trust.words import spoken
from wardround.server.enrolment import remove
from wardround.server.serverfile import ServerFile, create_server

SECRET = "a passphrase of a hospital"  # noqa: S105  (of a key made for this test)


@dataclass(frozen=True)
class Pair:
    """A coordinator's folder and a hospital's, enrolled and joined."""

    server: ServerFile
    site: Path

    def request(self) -> bytes:
        """The hospital's join request."""
        return make_request(self.site, passphrase=SECRET)


def wardround(*words: object, secret: str = "") -> "subprocess.CompletedProcess[str]":
    """Run the command line tool."""
    return subprocess.run(
        [sys.executable, "-m", "wardround", *map(str, words)],
        cwd=ROOT,
        env={**os.environ, PASSPHRASE: secret} if secret else os.environ,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        timeout=200,
    )


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Both folders; nothing runs yet, and nothing runs afterwards."""
    root = tmp_path_factory.mktemp("up")
    server = ServerFile(
        folder=root / "hub", name="hub", host="localhost", port=free_port(), log_port=free_port()
    )
    key = create_server(server, now=utc_now())
    site = root / "north"
    create_site(site, FirstPolicy(site="north", table=site / "t.csv"), passphrase=SECRET)
    made = Pair(server=server, site=site)
    invite = let_in(server, made.request()).invite
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(PASSPHRASE, SECRET)
        join(site, invite, words=spoken(key.public.fingerprint), now=utc_now())
    yield made
    wardround("site", "down", site)
    wardround("server", "down", server.folder)


def up(folder: Path) -> Standing:
    """The supervisor of a folder, which must run."""
    found = running(folder / "flower")
    assert found is not None
    return found


def test_a_hospital_that_has_not_joined_is_told_so(tmp_path: Path) -> None:
    create_site(tmp_path / "s", FirstPolicy(site="s", table=tmp_path / "t.csv"))
    for command in (("up",), ("up", "--detach")):
        done = wardround("site", command[0], tmp_path / "s", *command[1:])
        assert done.returncode == 2
        assert "has not joined a consortium yet" in done.stderr


@pytest.mark.long
def test_from_nothing_to_an_orderly_end(pair: Pair) -> None:
    hub, north = pair.server.folder, pair.site
    done = wardround("server", "up", hub, "--detach")
    assert (done.returncode, done.stderr) == (0, "")
    assert "superlink  ready" in done.stdout
    assert "logservice ready" in done.stdout

    assert "nobody can be asked" in wardround("site", "up", north, "--detach").stderr
    done = wardround("site", "up", north, "--detach", secret=SECRET)
    assert (done.returncode, done.stderr) == (0, "")
    assert [process.name for process in up(north).processes] == ["supernode", "executor"]

    until(lambda: "north                online" in wardround("server", "status", hub).stdout)
    only_the_executor_can_open_the_identity(north)
    the_folder_cannot_be_up_twice(north)
    a_killed_executor_comes_back(north)
    nobody_survives_the_supervisor(north)
    a_removed_hospital_may_not_connect_any_more(pair)

    done = wardround("server", "down", hub)
    assert (done.returncode, done.stdout) == (0, "All processes have ended.\n")
    assert wardround("server", "down", hub).stdout == "Nothing runs here.\n"
    done = wardround("server", "status", hub, "--json")
    assert done.returncode == 8
    assert json.loads(done.stdout) == {"pid": 0, "ready": False, "processes": []}
    said = wardround("server", "logs", hub, "--lines", "1").stdout
    assert said.endswith("all processes have ended\n")


def only_the_executor_can_open_the_identity(site: Path) -> None:
    node, executor = (process.pid for process in up(site).processes)
    assert SECRET.encode() in Path(f"/proc/{executor}/environ").read_bytes()
    assert SECRET.encode() not in Path(f"/proc/{node}/environ").read_bytes()
    for path in (*(site / "logs").iterdir(), site / "flower" / "up.json"):
        assert SECRET not in path.read_text(encoding="utf-8")


def the_folder_cannot_be_up_twice(site: Path) -> None:
    done = wardround("site", "up", site, secret=SECRET)
    assert done.returncode == 8
    assert f"runs already for this folder (process {up(site).pid})" in done.stderr


def a_killed_executor_comes_back(site: Path) -> None:
    before = up(site).processes[1].pid
    os.kill(before, signal.SIGKILL)
    until(lambda: up(site).processes[1].restarts == 1 and up(site).ready)
    assert up(site).processes[1].last_error == "it ended by SIGKILL"


def nobody_survives_the_supervisor(site: Path) -> None:
    before = up(site)
    os.kill(before.pid, signal.SIGKILL)
    until(lambda: not any(alive(process.pid) for process in before.processes))
    assert running(site / "flower") is None
    assert wardround("site", "status", site).returncode == 8


def a_removed_hospital_may_not_connect_any_more(pair: Pair) -> None:
    remove(pair.server.folder, "north")
    until(lambda: "Hospitals: nobody" in wardround("server", "status", pair.server.folder).stdout)
    said = wardround("server", "logs", pair.server.folder).stdout
    assert "may connect now: north" in said
    assert "may not connect any more: north" in said
