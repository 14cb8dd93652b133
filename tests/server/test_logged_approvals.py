"""Approvals in the log: each site's own signed word, at the price that its ledger reserved; nobody else's passes."""

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.consortia import Consortium, asked
from tests.played import play
from tests.studies import keys_and_roster, private_protocol, roster_of, small_coordinator, small_federation

from wardround.common.code import package_digest
from wardround.common.learning.exchange import NO_MODEL, PRESENT
from wardround.common.privacy.events import encode
from wardround.common.trust.envelope import Header, seal
from wardround.common.trust.ledger import LEDGER, read_ledger
from wardround.common.trust.statement import read_statement, sign_statement
from wardround.common.trust.studylog import read_log
from wardround.server.coordinator import LOG, Coordinator
from wardround.simulations.federation import run_federation

STUDY = private_protocol(rounds=3)
KEYS, ROSTER = keys_and_roster("north", "south")


def test_each_site_approves_with_its_own_key_and_the_price_that_its_ledger_reserved(tmp_path: Path) -> None:
    made = small_federation(tmp_path, STUDY)
    run_federation(made)
    roster = roster_of(made)
    approvals = [entry.data for entry in read_log(made.folder / LOG, roster) if entry.kind == "approval"]
    assert [one["site"] for one in approvals] == ["north", "south"]
    for one, hospital in zip(approvals, made.hospitals, strict=True):
        statement = base64.b64decode(str(one["statement"]))
        key, ledger = hospital.office().key.public, hospital.office().policy.ledger / LEDGER
        (reserve,) = (entry for entry in read_ledger(ledger, key) if entry.kind == "reserve")
        assert read_statement(statement, kind="approval", signer=key).fields == {
            "site": hospital.name,
            "study": "small",
            "protocol": STUDY.digest,
            "roster": roster.digest,
            "roster_version": 0,
            "by": "simulation",
            "time": reserve.time,
            "event": encode(STUDY.event()),
            "releases": 6,
            "delta": "1e-05",
            "ledger": {"seq": reserve.seq, "hash": reserve.hash},
            "code": package_digest(),
            "package": "0.1.0",
        }


def test_in_a_deployment_a_person_approved_a_version_of_the_roster(tmp_path: Path) -> None:
    made = Consortium(tmp_path)
    coordinator = play(made, asked())
    log = read_log(made.server / "studies" / "asked" / "federation" / LOG, coordinator.roster)
    statements = [base64.b64decode(str(one.data["statement"])) for one in log if one.kind == "approval"]
    said = [json.loads(base64.b64decode(json.loads(one)["payload"])) for one in statements]
    assert [(one["by"], one["roster_version"], one["releases"]) for one in said] == [("person", 3, 6)] * 3


def present(coordinator: Coordinator, body: bytes, name: str = "north") -> bytes:
    header = Header(
        kind=PRESENT,
        study=STUDY.study.name,
        protocol_digest=STUDY.digest,
        run=coordinator.run,
        round=0,
        attempt=0,
        sender=name,
        receiver="coordinator",
        base_model=NO_MODEL,
    )
    return seal(KEYS[name], header, body)


def opened(folder: Path) -> Coordinator:
    return small_coordinator(folder, STUDY, KEYS["coordinator"], ROSTER)


def kinds(folder: Path) -> list[str]:
    return [entry.kind for entry in read_log(folder / LOG, ROSTER)]


SAID = {"site": "north", "protocol": STUDY.digest}
FALSE: dict[str, Callable[[], bytes]] = {
    "another site's": lambda: sign_statement(KEYS["south"], "approval", SAID),
    "under another name": lambda: sign_statement(KEYS["north"], "approval", SAID | {"site": "south"}),
    "of another study": lambda: sign_statement(KEYS["north"], "approval", SAID | {"protocol": "1" * 64}),
    "the coordinator's": lambda: sign_statement(KEYS["coordinator"], "approval", SAID),
    "something else": lambda: sign_statement(KEYS["north"], "witness", SAID),
    "unsigned": lambda: json.dumps(SAID).encode(),
    "too long": lambda: sign_statement(KEYS["north"], "approval", SAID | {"code": "x" * 20_000}),
    "half of one": lambda: sign_statement(KEYS["north"], "approval", SAID)[:-9],
}


@pytest.mark.parametrize("what", FALSE)
def test_an_approval_that_is_not_the_sites_own_names_nobody_and_is_not_logged(
    tmp_path: Path, what: str
) -> None:
    coordinator = opened(tmp_path)
    assert coordinator.name_in(present(coordinator, FALSE[what]()), PRESENT) is None
    coordinator.keep_approvals()
    assert kinds(tmp_path) == ["protocol", "roster"]


def test_an_approval_is_logged_once_however_often_it_is_heard_and_a_changed_one_again(tmp_path: Path) -> None:
    for code in ("a", "a", "b"):
        coordinator = opened(tmp_path)
        statement = sign_statement(KEYS["north"], "approval", SAID | {"code": code})
        assert coordinator.name_in(present(coordinator, statement), PRESENT) == "north"
        # Not open there: no approval.
        assert coordinator.name_in(present(coordinator, b"", "south"), PRESENT) == "south"
        coordinator.keep_approvals()
    assert kinds(tmp_path) == ["protocol", "roster", "approval", "approval"]
