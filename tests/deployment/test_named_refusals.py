"""What a deployment refuses, over real processes: strangers, thieves of a name, and ledgers of yesterday."""

import shutil
import signal
import socket
import ssl
from collections.abc import Iterator

import httpx
import pytest
from tests.deployment.promises import ledger, named
from tests.deployment.wards import Ward, ward
from tests.enrolling import request, words_of
from tests.flowerline import until
from tests.runs import command, private_study, study

from wardround.common.flower.internals_link import OPEN_PATHS


@pytest.fixture
def new_ward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    with ward(tmp_path_factory.mktemp("ward"), study()) as made:
        yield made


@pytest.mark.slow
@pytest.mark.failure(
    "stranger at the port; a key that enrols under a stolen name", "refused; uninterrupted model"
)
def test_strangers_at_the_port_reach_nothing_and_a_stolen_name_is_not_enrolled(new_ward: Ward) -> None:
    name = new_ward.agree(named("strangers", study(rounds=6, attempts=6, local_steps=300)))
    new_ward.up()
    process = new_ward.start(name)
    new_ward.at_round(name, 1)
    link = new_ward.server.link_place()
    with socket.create_connection((link.host, link.port)) as raw:
        raw.sendall(b"\0garbage\r\n\r\n" * 50)
    context = ssl.create_default_context(cafile=link.ca)
    with httpx.Client(verify=context, trust_env=False) as client:
        for path in OPEN_PATHS - {"/health"}:
            assert client.post(f"https://{link.loopback}{path}", content=b"").status_code not in (200, 404)
        for path in ("/v1/control/start-run", "/v1/runtime/acquire-task"):
            assert client.post(f"https://{link.loopback}{path}").status_code == 403
    stolen = request("north", 77)
    paper = new_ward.root / "stolen.json"
    paper.write_bytes(stolen)
    said = command("server", "enrol", new_ward.server.folder, paper, "--words", words_of(stolen))
    assert said.code != 0
    assert "north" in said.err
    new_ward.finish(name, process)
    assert new_ward.model(name) == new_ward.uninterrupted(name)


@pytest.mark.slow
@pytest.mark.failure(
    "yesterday's site folder restored", "it was rolled back: answers nothing; the others go on"
)
def test_yesterdays_folder_is_refused_by_name_and_the_others_go_on(new_ward: Ward) -> None:
    name = new_ward.agree(named("yesterday", private_study(rounds=6, attempts=3, local_steps=1, quorum=1)))
    north = new_ward.folder("north")
    kept = new_ward.root / "yesterday"
    shutil.copytree(north, kept)
    new_ward.up()
    process = new_ward.start(name)
    new_ward.at_round(name, 2)
    process.send_signal(signal.SIGSTOP)
    new_ward.down("north")
    charged = len(ledger(new_ward, "north"))
    shutil.rmtree(north)
    shutil.copytree(kept, north)
    process.send_signal(signal.SIGCONT)
    new_ward.up("north")
    new_ward.finish(name, process)
    until(lambda: bool(new_ward.refusals("north")))
    assert "it was rolled back" in "".join(new_ward.refusals("north"))
    assert len(ledger(new_ward, "north")) < charged
    assert len(ledger(new_ward, "south")) > charged
