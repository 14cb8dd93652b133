"""`wardround doctor` on folders in which something was broken on purpose."""

import json
import os
import socket
from datetime import timedelta
from pathlib import Path

import pytest
from tests.enrolling import let_in, site
from tests.flowerline import free_port

from wardround import cli
from wardround.client.doctor import findings as at_hospital
from wardround.client.joining import join, make_request
from wardround.client.policy import SitePolicy
from wardround.common.doctor import Finding
from wardround.common.durable import exclusive
from wardround.common.privacy.events import GaussianSteps
from wardround.common.processfile import ProcessState, Standing, born, write_standing
from wardround.common.trust.identity import SigningKey
from wardround.common.trust.ledger import LEDGER, LOCK, Ledger
from wardround.common.trust.signed import utc_now
from wardround.common.trust.words import spoken
from wardround.server.doctor import findings as at_coordinator
from wardround.server.serverfile import ServerFile, create_server

EVENT = GaussianSteps(noise_multiplier=2.5, sample_rate=0.25, steps=4)


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ledgers' witnesses of each test stand in a place of their own; no proxy."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def hub(tmp_path: Path) -> ServerFile:
    """A new coordinator of today."""
    server = ServerFile(folder=tmp_path / "hub", name="hub", host="localhost", port=free_port())
    create_server(server, now=utc_now())
    return server


@pytest.fixture
def north(tmp_path: Path, hub: ServerFile) -> Path:
    """A hospital that joined it; its coordinator's server does not run."""
    folder = tmp_path / "north"
    invite = let_in(hub, site(folder, "north")).invite
    (folder / "t.csv").touch()
    join(folder, invite, words=spoken(hub.key().public.fingerprint), now=utc_now())
    return folder


def of(found: tuple[Finding, ...], check: str) -> list[tuple[str, str]]:
    """State and text of what one check found; everything that is not fine says what to do."""
    assert all(finding.advice for finding in found if finding.state != "fine")
    return [(finding.state, finding.found) for finding in found if finding.check == check]


def spent(folder: Path) -> SitePolicy:
    """Write three entries into the hospital's ledger."""
    policy = SitePolicy.load(folder / "site.toml")
    policy.head.parent.mkdir(parents=True, exist_ok=True)
    with Ledger.open(
        policy.ledger, SigningKey.load(policy.identity), policy.head, pool=policy.pool
    ) as ledger:
        ledger.reserve("a study", "0" * 64, EVENT, 3)
        ledger.spend("a study", "0" * 64, 1, 1, "0" * 64)
    return policy


def test_a_new_hospital_whose_coordinator_is_away_has_that_one_fault(north: Path) -> None:
    found = at_hospital(north, now=utc_now)
    assert {finding.check for finding in found if finding.state == "fault"} == {"coordinator"}
    assert of(found, "ledger") == [("fine", "nothing was spent or reserved yet")]


def test_a_hospital_that_has_not_joined_is_told_how(tmp_path: Path) -> None:
    site(tmp_path / "alone", "alone")
    found = at_hospital(tmp_path / "alone", now=utc_now)
    assert of(found, "consortium")[0][0] == "fault"
    assert of(found, "coordinator") == []


def test_a_ledger_that_another_process_holds_is_named(north: Path) -> None:
    policy = spent(north)
    with exclusive(policy.ledger / LOCK):
        assert of(at_hospital(north, now=utc_now), "ledger")[0][0] == "fault"
        (north / "flower").mkdir(mode=0o700)
        one = ProcessState(name="executor", state="running", ready=True)
        write_standing(
            north / "flower", Standing(pid=os.getpid(), born=born(os.getpid()), since=0.0, processes=(one,))
        )
        assert of(at_hospital(north, now=utc_now), "ledger")[0][0] == "fine"


def test_a_ledger_without_its_witness_or_behind_it_is_a_fault(north: Path) -> None:
    policy = spent(north)
    path = policy.ledger / LEDGER
    assert of(at_hospital(north, now=utc_now), "ledger") == [
        ("fine", "3 entries, all signed by this site, none missing")
    ]
    head, whole = policy.head.read_bytes(), path.read_bytes()
    policy.head.unlink()
    assert "expected the head file" in of(at_hospital(north, now=utc_now), "ledger")[0][1]
    policy.head.write_bytes(head)
    path.write_bytes(b"".join(whole.splitlines(keepends=True)[:2]))
    assert "it was rolled back" in of(at_hospital(north, now=utc_now), "ledger")[0][1]
    path.unlink()
    state, text = of(at_hospital(north, now=utc_now), "ledger")[0]
    assert state == "fault"
    assert "is gone, while its witness" in text


def test_a_witness_in_the_folder_that_is_backed_up_is_a_warning(north: Path) -> None:
    policy = north / "site.toml"
    text = policy.read_text(encoding="utf-8")
    policy.write_text(text.replace("[columns]", 'head = "witness/head.json"\n[columns]', 1), encoding="utf-8")
    spent(north)
    assert ("warning", "its witness lies in the site's own folder, where one backup restores both") in of(
        at_hospital(north, now=utc_now), "ledger"
    )


def test_a_readable_key_and_a_new_node_key_are_faults(north: Path) -> None:
    (north / "identity.pem").chmod(0o644)
    assert "identity.pem has mode 644" in of(at_hospital(north, now=utc_now), "private files")[0][1]
    (north / "identity.pem").chmod(0o600)
    make_request(north, node_key="renew")
    assert ("fault", "the coordinator enrolled another node key than the one here") in of(
        at_hospital(north, now=utc_now), "consortium"
    )


def test_nothing_is_changed_and_no_table_is_opened(north: Path) -> None:
    spent(north)
    (north / "t.csv").unlink()
    os.mkfifo(north / "t.csv")  # whoever opens it waits for ever

    def everything() -> dict[str, bytes]:
        files = (path for path in north.rglob("*") if path.is_file())
        return {str(path): path.read_bytes() for path in files}

    before = everything()
    at_hospital(north, now=utc_now)
    assert everything() == before


def test_a_new_coordinator_is_in_order_but_for_its_members(hub: ServerFile) -> None:
    found = at_coordinator(hub.folder, now=utc_now)
    assert [finding.check for finding in found if finding.state == "fault"] == []
    assert of(found, "members") == [("warning", "no hospital is enrolled")]


def test_a_coordinators_expired_certificate_taken_port_and_open_key_are_faults(hub: ServerFile) -> None:
    hub.ca_key.chmod(0o604)
    with socket.create_server(("0.0.0.0", hub.port)):  # noqa: S104
        found = at_coordinator(hub.folder, now=lambda: utc_now() + timedelta(days=400))
    assert "expired at" in of(found, "certificate")[0][1]
    assert "in use" in of(found, "port")[0][1]
    assert "ca.key has mode 604" in of(found, "private files")[0][1]


def test_the_log_services_port_is_looked_at_like_the_superlinks(hub: ServerFile) -> None:
    assert of(at_coordinator(hub.folder, now=utc_now), "log port")[0][0] == "warning"
    path, port = hub.folder / "server.toml", free_port()
    path.write_text(path.read_text(encoding="utf-8") + f"log_port = {port}\n", encoding="utf-8")
    found = at_coordinator(hub.folder, now=utc_now)
    assert of(found, "log port") == [("fine", f"{port} is free for the log service")]
    with socket.create_server(("0.0.0.0", port)):  # noqa: S104
        found = at_coordinator(hub.folder, now=utc_now)
    assert [(state, "in use" in text) for state, text in of(found, "log port")] == [("fault", True)]
    assert of(found, "port")[0][0] == "fine"


def test_a_certificate_for_an_earlier_address_is_a_fault(hub: ServerFile) -> None:
    path = hub.folder / "server.toml"
    path.write_text(
        path.read_text(encoding="utf-8").replace('"localhost:', '"fl.example.org:'), encoding="utf-8"
    )
    found = at_coordinator(hub.folder, now=utc_now)
    assert "hospitals dial fl.example.org" in of(found, "certificate")[0][1]


def test_the_command_says_it_for_people_and_programs(
    hub: ServerFile, north: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["doctor", str(hub.folder)]) == 0
    assert "Faults: 0" in capsys.readouterr().out
    assert cli.main(["doctor", str(north), "--json"]) == 1
    whole = json.loads(capsys.readouterr().out)
    assert (whole["format"], whole["version"]) == ("wardround-doctor", 1)
    assert {finding["state"] for finding in whole["findings"]} == {"fine", "warning", "fault"}


def test_a_folder_of_neither_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", str(tmp_path)]) == 2
    assert "expected site.toml or server.toml" in capsys.readouterr().err
