"""Approvals in the log: each site's own signed word, at the price that its ledger reserved; nobody else's passes."""

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.consortia import Consortium, asked
from tests.played import play
from tests.studies import (
    WIDTH,
    keys_and_roster,
    private_protocol,
    roster_of,
    small_coordinator,
    small_federation,
)

from wardround.common.code import package_digest
from wardround.common.learning.exchange import NO_MODEL, PRESENT
from wardround.common.learning.models import initial
from wardround.common.privacy.events import encode
from wardround.common.trust.envelope import Header, seal
from wardround.common.trust.identity import Roster
from wardround.common.trust.ledger import LEDGER, read_ledger
from wardround.common.trust.statement import read_statement, sign_statement
from wardround.common.trust.studylog import read_log
from wardround.server.approvals import MOST
from wardround.server.coordinator import LOG, Coordinator
from wardround.server.enrolment import current_roster, published_lists, remove
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


def said(**changes: object) -> dict[str, object]:
    """What an honest approval says, with some fields changed."""
    return {
        "site": "north",
        "study": STUDY.study.name,
        "protocol": STUDY.digest,
        "roster": ROSTER.digest,
        "roster_version": 1,
        "by": "person",
        "time": "2026-11-27T08:00:00Z",
        "event": encode(STUDY.event()),
        "releases": 6,
        "delta": "1e-05",
        "ledger": {"seq": 1, "hash": "a" * 64},
        "code": "c" * 64,
        "package": "0.1.0",
    } | changes


def signed(key: str = "north", kind: str = "approval", **changes: object) -> bytes:
    return sign_statement(KEYS[key], kind, said(**changes))


FALSE: dict[str, Callable[[], bytes]] = {
    "another site's": lambda: signed("south"),
    "under another name": lambda: signed(site="south"),
    "the coordinator's": lambda: signed("coordinator"),
    "something else": lambda: signed(kind="witness"),
    "unsigned": lambda: json.dumps(said()).encode(),
    "too long": lambda: signed(package="1" * 20_000),
    "half of one": lambda: signed()[:-9],
    "a field more": lambda: signed(cap="8.0"),
    "a field less": lambda: sign_statement(
        KEYS["north"], "approval", {name: value for name, value in said().items() if name != "by"}
    ),
}
WRONG: list[dict[str, Any]] = [
    {"protocol": "1" * 64},
    {"study": "another"},
    {"study": 1},
    {"event": {**encode(STUDY.event()), "noise_multiplier": "1.0"}},
    {"event": {**encode(STUDY.event()), "noise_multiplier": "2"}},
    {"event": {"kind": "non-private"}},
    {"event": []},
    {"releases": 5},
    {"releases": 60},
    {"releases": True},
    {"releases": "6"},
    {"delta": "1e-06"},
    {"delta": "0.00001"},
    {"delta": "nan"},
    {"roster": "2" * 64},
    {"roster": 0},
    {"roster_version": -1},
    {"roster_version": 2**31},
    {"by": "nobody"},
    {"by": []},
    {"time": "yesterday"},
    {"time": "2026-11-27T08:00:00+00:00"},
    {"ledger": {"seq": 0, "hash": "a" * 64}},
    {"ledger": {"seq": 10**30, "hash": "a" * 64}},
    {"ledger": {"seq": 1, "hash": "A" * 64}},
    {"ledger": {"seq": 1, "hash": "a" * 64, "note": ""}},
    {"code": "c"},
    {"package": "0.1.0\x1b[2J"},
]


@pytest.mark.parametrize("what", FALSE)
def test_an_approval_that_is_not_the_sites_own_names_nobody_and_is_not_logged(
    tmp_path: Path, what: str
) -> None:
    refused(opened(tmp_path), FALSE[what](), tmp_path)


@pytest.mark.parametrize("changes", WRONG, ids=str)
def test_an_approval_on_other_terms_or_of_other_types_is_refused(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    refused(opened(tmp_path), signed(**changes), tmp_path)


def refused(coordinator: Coordinator, statement: bytes, folder: Path) -> None:
    before = kinds(folder)
    assert coordinator.name_in(present(coordinator, statement), PRESENT) is None
    coordinator.keep_approvals()
    assert kinds(folder) == before


def heard(coordinator: Coordinator, statement: bytes) -> None:
    assert coordinator.name_in(present(coordinator, statement), PRESENT) == "north"
    coordinator.keep_approvals()


def test_an_approval_is_logged_once_however_often_it_is_heard_and_one_of_newer_code_again(
    tmp_path: Path,
) -> None:
    for code in ("a", "a", "b", "a"):
        coordinator = opened(tmp_path)
        # Not open there: no approval.
        assert coordinator.name_in(present(coordinator, b"", "south"), PRESENT) == "south"
        heard(coordinator, signed(code=code * 64))
    assert kinds(tmp_path) == ["protocol", "roster", "approval", "approval"]


def test_one_number_of_a_ledger_is_one_reservation_also_after_a_restart(tmp_path: Path) -> None:
    heard(opened(tmp_path), signed())
    coordinator = opened(tmp_path)
    refused(coordinator, signed(ledger={"seq": 1, "hash": "b" * 64}), tmp_path)
    refused(coordinator, signed(time="2026-11-27T09:00:00Z"), tmp_path)
    heard(coordinator, signed(ledger={"seq": 7, "hash": "b" * 64}))


def test_one_site_cannot_fill_the_log(tmp_path: Path) -> None:
    coordinator = opened(tmp_path)
    for number in range(MOST):
        heard(coordinator, signed(code=f"{number:064x}"))
    refused(coordinator, signed(), tmp_path)
    heard(coordinator, signed(code=f"{0:064x}"))


def test_an_approval_of_a_list_that_was_published_before_is_logged_with_that_list(tmp_path: Path) -> None:
    _, other = keys_and_roster("north", "west")
    earlier = replace(other, coordinator_key=ROSTER.coordinator_key)
    coordinator = Coordinator(
        tmp_path,
        key=KEYS["coordinator"],
        roster=ROSTER,
        protocol=STUDY,
        initial=initial(STUDY, WIDTH),
        lists=lambda: (earlier, ROSTER),
    )
    coordinator.begin()
    refused(coordinator, signed(roster=other.digest), tmp_path)
    heard(coordinator, signed(roster=earlier.digest))
    (line,) = (entry.data for entry in read_log(tmp_path / LOG, ROSTER) if entry.kind == "approval")
    assert Roster.from_dict(line["roster"]) == earlier  # type: ignore[arg-type]  # a JSON object


def test_every_list_that_a_coordinator_published_is_known_to_it(tmp_path: Path) -> None:
    made = Consortium(tmp_path)
    before = published_lists(made.server)
    remove(made.server, "west")
    assert [one.site_names for one in before] == [("north",), ("north", "south"), ("north", "south", "west")]
    assert published_lists(made.server) == (*before, current_roster(made.server).roster)
    assert published_lists(made.server)[-1].digest == before[1].digest
