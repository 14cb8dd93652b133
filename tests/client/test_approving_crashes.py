"""Killed at any durable step of an approval or a revocation: approved as a whole or not at all, never unreserved."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.consortia import Consortium, asked
from tests.crashes import Acknowledge, Crash, distinct_crash_points
from tests.studies import RUN

from wardround.client import frozen
from wardround.client.approvals import approved
from wardround.client.approving import approve
from wardround.client.office import Office
from wardround.client.reception import Reception
from wardround.client.revoking import revoke
from wardround.common.errors import PolicyRefusal
from wardround.common.formats import digest
from wardround.common.learning.models import initial
from wardround.common.learning.parameters import to_bytes
from wardround.common.study.protocol import StudyProtocol
from wardround.common.trust.envelope import open_envelope

STUDY = asked()
STEPS = 3 * 2  # what an approval reserves

Prepare = Callable[[Path], None]
Act = Callable[[Path, Acknowledge], None]


@pytest.fixture
def made(tmp_path: Path) -> Consortium:
    return Consortium(tmp_path / "made", names=("north",))


def site_in(folder: Path) -> Path:
    return folder / "north"


def copier(made: Consortium) -> Prepare:
    """Gives each run a site of its own, the ledger's witness inside the folder that a power cut rolls back."""

    def prepare(folder: Path) -> None:
        shutil.copytree(made.root / "heads", folder / "heads") if (made.root / "heads").exists() else None
        shutil.copytree(made.site("north"), site_in(folder))
        policy = site_in(folder) / "site.toml"
        policy.write_text(policy.read_text().replace(f"{made.root}/", f"{folder}/"))

    return prepare


def exposed(site: Path) -> int:
    office = Office.load(site)
    with office.ledger() as ledger:
        return sum(getattr(event, "steps", 0) for event in ledger.exposure())


def is_open(site: Path) -> bool:
    with Office.load(site).ledger() as ledger:
        return ledger.has_open(STUDY.study.name, STUDY.digest)


def check_whole(made: Consortium, crash: Crash) -> str:
    """What a crash may leave: nothing, or everything. Tells which."""
    site = site_in(crash.folder)
    found = approved(site, STUDY.digest)
    if found is None or found.state == "revoked":
        assert "approved" not in crash.acknowledged
        return "not"
    assert is_open(site), "an approved study has its reservation"
    assert digest(found.cohort_path.read_bytes()) == found.cohort
    assert digest(found.bundle_path.read_bytes()) == found.bundle
    assert frozen.from_bytes(found.cohort_path.read_bytes()).n_patients > 0
    assert kind_of(made, site, found.protocol, found.width) == "update"
    return "approved"


def kind_of(made: Consortium, site: Path, protocol: StudyProtocol, width: int) -> str:
    """How the site answers a first task."""
    model = to_bytes(initial(protocol, width))
    task = made.message("task", protocol, "north", model, round=1, attempt=1, base_model=digest(model))
    found = approved(site, protocol.digest)
    assert found is not None
    return open_envelope(Reception(site).answer(task), found.roster).header.kind


def test_an_interrupted_approval_is_whole_or_nothing(made: Consortium, tmp_path: Path) -> None:
    data = made.bundle(STUDY)
    (tmp_path / "runs").mkdir()

    def act(folder: Path, acknowledge: Acknowledge) -> None:
        approve(site_in(folder), data)
        acknowledge("approved")

    seen = set()
    for crash in distinct_crash_points(tmp_path / "runs", act, prepare=copier(made)):
        seen.add(check_whole(made, crash))
        site = site_in(crash.folder)
        approve(site, data)  # a person types the command once more
        assert exposed(site) == STEPS
    assert seen == {"approved", "not"}


def test_an_interrupted_approval_can_be_taken_back(made: Consortium, tmp_path: Path) -> None:
    data = made.bundle(STUDY)
    (tmp_path / "runs").mkdir()

    def act(folder: Path, acknowledge: Acknowledge) -> None:
        approve(site_in(folder), data)
        acknowledge("approved")

    freed = 0
    for crash in distinct_crash_points(tmp_path / "runs", act, prepare=copier(made)):
        site = site_in(crash.folder)
        if exposed(site):
            revoke(site, "asked")
            freed += 1
        assert exposed(site) == 0
    assert freed > 1


def test_an_interrupted_second_approval_keeps_what_was_spent(made: Consortium, tmp_path: Path) -> None:
    data = made.bundle(STUDY)
    site = made.site("north")
    approve(site, data)
    with made.ledger("north") as ledger:
        door = made.office("north").door(ledger)
        door.charge(STUDY, 1, 1, "0" * 64, run=RUN)
        door.let_go(STUDY, 1, 1, b"reply")
        door.close(STUDY)
    (tmp_path / "runs").mkdir()

    def act(folder: Path, acknowledge: Acknowledge) -> None:
        approve(site_in(folder), data, again="again")
        acknowledge("approved")

    for crash in distinct_crash_points(tmp_path / "runs", act, prepare=copier(made)):
        here = site_in(crash.folder)
        found = approved(here, STUDY.digest)
        assert found is not None
        assert exposed(here) in (1, 1 + STEPS)
        if found.state == "approved" and found.number == 1:
            assert not is_open(here)  # still finished, exactly as before
            with pytest.raises(PolicyRefusal, match="finished"):
                approve(here, data)
        else:
            approve(here, data)
            assert exposed(here) == 1 + STEPS


def test_an_interrupted_revocation_never_answers_again_once_it_was_acknowledged(
    made: Consortium, tmp_path: Path
) -> None:
    data = made.bundle(STUDY)
    width = approve(made.site("north"), data).approval.width
    (tmp_path / "runs").mkdir()

    def act(folder: Path, acknowledge: Acknowledge) -> None:
        revoke(site_in(folder), "asked")
        acknowledge("revoked")

    answers = set()
    for crash in distinct_crash_points(tmp_path / "runs", act, prepare=copier(made)):
        site = site_in(crash.folder)
        found = approved(site, STUDY.digest)
        assert found is not None
        kind = kind_of(made, site, STUDY, width)
        answers.add((found.state, kind))
        if crash.acknowledged:
            assert (kind, exposed(site)) == ("declined", 0)
        revoke(site, "asked")
        assert kind_of(made, site, STUDY, width) == "declined"
    assert answers == {("approved", "update"), ("revoked", "declined")}
