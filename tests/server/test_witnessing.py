"""What the sites cosigned, from the coordinator's side: kept beside the log, and known again after a restart."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Message
from tests.consortia import Consortium, asked
from tests.cosigning import cosigned
from tests.played import play
from tests.rogues import NAMES, Replies, Rogue, attacked
from tests.studies import private_protocol, roster_of, small_federation, small_protocol

from wardround.client.refusals import REFUSALS
from wardround.common.errors import StudyError
from wardround.common.flower.records import unpack
from wardround.common.study.protocol import StudyProtocol
from wardround.common.trust import studylog
from wardround.common.trust.checkpointfile import CHECKPOINTS
from wardround.common.trust.envelope import open_envelope
from wardround.common.trust.studylog import StudyLog, read_log, read_own_log
from wardround.server.coordinator import LOG
from wardround.simulations import federation as federation_module
from wardround.simulations.federation import Federation, coordinator_key, run_federation
from wardround.simulations.grid import InlineGrid

STUDY = private_protocol(rounds=3)
BOTH = {"north", "south"}
Lines = list[tuple[str, dict[str, Any]]]


def who(made: Federation) -> dict[int, set[str]]:
    return cosigned(made.folder, made.protocol, roster_of(made))


def stopped(made: Federation, after: int) -> Federation:
    """A study whose coordinator was stopped."""

    def stop(number: int, _: object) -> None:
        if number == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_federation(made, on_round=stop)
    return made


PRIVATE = {4: BOTH, 5: BOTH, 6: BOTH, 7: set(), 8: BOTH, 9: set()}
AT_THE_END = {5: set(), 6: set(), 7: set(), 8: BOTH, 9: set()}


@pytest.mark.parametrize(
    ("study", "signed"),
    [(STUDY, PRIVATE), (small_protocol(rounds=3), AT_THE_END)],
    ids=["site-noise", "none"],
)
def test_every_line_but_the_last_is_cosigned_by_every_site(
    tmp_path: Path, study: StudyProtocol, signed: dict[int, set[str]]
) -> None:
    made = small_federation(tmp_path, study)
    run_federation(made)
    kinds = [entry.kind for entry in read_log(made.folder / LOG, roster_of(made))]
    first, last = ["protocol", "roster", "approval", "approval"], ["result", "finish"]
    assert kinds == [*first, "round", "round", "round", *last]
    assert who(made) == signed


def test_hospitals_of_a_deployment_cosign_too(tmp_path: Path) -> None:
    made = Consortium(tmp_path)
    coordinator = play(made, asked())
    folder = made.server / "studies" / "asked" / "federation"
    found = cosigned(folder, coordinator.study.protocol, coordinator.roster)
    lines = len((folder / LOG).read_bytes().splitlines())
    assert found[lines - 1] == {"north", "south", "west"}


def test_a_cosignature_of_something_else_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = small_federation(tmp_path, STUDY, names=NAMES)

    def forge(rogue: Rogue, honest: Message) -> Replies:
        size, line = open_envelope(unpack(honest.content), rogue.roster).header.log.splitlines()
        return [rogue.sealed(honest, log=f"{size}\n{line[:-12]}AAAAAAAAAAA=\n")]

    change = attacked(made, forge)

    class Changed(InlineGrid):
        def pull_messages(self, message_ids: Any) -> Any:
            return change(list(super().pull_messages(message_ids)))

    monkeypatch.setattr(federation_module, "InlineGrid", Changed)
    run_federation(made)
    honest = {"east", "north"}
    found = {size: sites for size, sites in who(made).items() if sites}
    assert found == dict.fromkeys((5, 6, 7, 9), honest)


@pytest.mark.parametrize("left", [b"", None, b"half"], ids=["emptied", "removed", "torn"])
def test_a_coordinator_that_was_stopped_goes_on_without_its_checkpoints(
    tmp_path: Path, left: bytes | None
) -> None:
    made = stopped(small_federation(tmp_path, STUDY), after=2)
    path = made.folder / CHECKPOINTS
    if left is None:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-20] if left else b"")
    run_federation(made)
    assert who(made)[8] == BOTH


def shorten(lines: Lines) -> None:
    del lines[-2:]


def falsify(lines: Lines) -> None:
    lines[4][1]["result_model"] = "0" * 64


def resign(lines: Lines) -> None:
    """The same content; only the times under the signatures differ."""


@pytest.mark.parametrize("change", [shorten, falsify, resign])
def test_a_coordinator_that_rewrites_its_log_loses_every_site(
    tmp_path: Path, change: Callable[[Lines], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = stopped(small_federation(tmp_path, private_protocol(rounds=4, attempts=2)), after=3)
    key = coordinator_key(made.folder)
    lines: Lines = [(entry.kind, dict(entry.data)) for entry in read_own_log(made.folder / LOG, key.public)]
    change(lines)
    (made.folder / LOG).unlink()
    monkeypatch.setattr(studylog, "timestamp", lambda _: "2026-01-01T00:00:00Z")
    log = StudyLog(made.folder / LOG, key)
    for kind, data in lines:
        log.append(kind, data)
    with pytest.raises(StudyError, match="stayed below its quorum"):
        run_federation(made)
    for hospital in made.hospitals:
        reasons = (hospital.folder / REFUSALS).read_text(encoding="utf-8")
        said = ("rolled back", "does not continue", "two different logs")
        assert any(one in reasons for one in said), reasons


def test_a_second_run_of_the_same_study_begins_a_log_of_its_own(tmp_path: Path) -> None:
    """The same hospitals and ledgers; the researcher repeats the study in another folder."""
    first = small_federation(tmp_path, STUDY)
    run_federation(first)
    second = Federation(protocol=STUDY, hospitals=first.hospitals, folder=tmp_path / "again")
    run_federation(second)
    assert who(second)[8] == BOTH
