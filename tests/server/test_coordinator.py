"""The coordinator's files: a crash between checkpoint and log line loses neither and doubles neither."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.studies import RUN, WIDTH, keys_and_roster, private_protocol, small_coordinator, small_protocol

from wardround.common.errors import StorageError, TrustError
from wardround.common.learning.exchange import FINISH, FINISHED, NO_MODEL, PRESENT, TASK, Receipt
from wardround.common.learning.models import initial
from wardround.common.learning.parameters import Parameters, parameters_digest, to_bytes
from wardround.common.learning.study import RoundTask
from wardround.common.study.protocol import StudyProtocol
from wardround.common.trust.envelope import Header, open_envelope, seal
from wardround.common.trust.merkle import Tree
from wardround.common.trust.studylog import read_log
from wardround.common.trust.witness import read_shown
from wardround.server.admission import Admitted, Refused
from wardround.server.coordinator import CHECKPOINT, LOG, Coordinator

PROTOCOL = small_protocol(rounds=3, strategy="fedadam", server_learning_rate=0.1)
KEYS, ROSTER = keys_and_roster("north", "south")


def opened(folder: Path) -> Coordinator:
    return small_coordinator(folder, PROTOCOL, KEYS["coordinator"], ROSTER)


def admitted(task: RoundTask, value: float) -> Admitted:
    update = {name: np.full_like(array, value) for name, array in task.base.items()}
    receipt = Receipt(event=PROTOCOL.event(), ledger_seq=4, ledger_head="c" * 64)
    return Admitted(update=update, receipt=receipt, sha256="d" * 64, head=b"head")


def play(coordinator: Coordinator, *values: float) -> None:
    """One round in which both sites send constant updates."""
    task = coordinator.study.task()
    sites = zip(("north", "south"), values, strict=True)
    assert coordinator.close(task, {site: admitted(task, value) for site, value in sites})


def kinds(folder: Path) -> list[str]:
    return [entry.kind for entry in read_log(folder / LOG, ROSTER)]


def model(coordinator: Coordinator) -> Parameters:
    return coordinator.study.progress.parameters


def test_a_study_begins_with_protocol_and_roster_once_however_often_it_is_opened(tmp_path: Path) -> None:
    first, again = opened(tmp_path), opened(tmp_path)
    assert first.fresh
    assert not again.fresh
    assert again.run == first.run
    assert kinds(tmp_path) == ["protocol", "roster"]
    protocol, roster = read_log(tmp_path / LOG, ROSTER)
    assert protocol.data == {"digest": PROTOCOL.digest, "name": "small", "run": first.run}
    assert roster.data == ROSTER.to_dict()


def test_a_line_that_a_crash_kept_from_the_log_is_written_from_the_checkpoint(tmp_path: Path) -> None:
    coordinator = opened(tmp_path)
    play(coordinator, 1.0, 3.0)
    whole = (tmp_path / LOG).read_bytes()
    lines = whole.splitlines(keepends=True)
    for left in (b"".join(lines[:-1]), whole[:-5], whole):  # before the line, within it, after it
        (tmp_path / LOG).write_bytes(left)
        again = opened(tmp_path)
        assert kinds(tmp_path) == ["protocol", "roster", "round"]
        assert read_log(tmp_path / LOG, ROSTER)[-1].data["result_model"] == parameters_digest(model(again))
        assert again.study.progress.rounds == 1


def test_a_resumed_optimiser_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    for name in ("whole", "resumed"):
        (tmp_path / name).mkdir()
    whole = opened(tmp_path / "whole")
    for values in ((1.0, 3.0), (-2.0, 0.5), (0.25, 0.125)):
        play(whole, *values)
        play(opened(tmp_path / "resumed"), *values)
    assert to_bytes(model(opened(tmp_path / "resumed"))) == to_bytes(model(whole))


def test_a_void_attempt_is_kept_across_a_restart(tmp_path: Path) -> None:
    coordinator = opened(tmp_path)
    task = coordinator.study.task()
    assert not coordinator.close(task, {"north": admitted(task, 1.0), "south": Refused(reason="too late")})
    again = opened(tmp_path).study.task()
    assert (again.round, again.attempt, again.base_model) == (1, 2, task.base_model)
    assert kinds(tmp_path) == ["protocol", "roster", "void"]
    assert read_log(tmp_path / LOG, ROSTER)[-1].data["sites"] == {
        "north": {
            "update": "d" * 64,
            "event": {"kind": "non-private"},
            "ledger_seq": 4,
            "ledger_head": "c" * 64,
            "head": "aGVhZA==",
        },
        "south": {"refused": "too late"},
    }


def test_a_site_without_any_reply_is_logged_as_such(tmp_path: Path) -> None:
    coordinator = opened(tmp_path)
    coordinator.close(coordinator.study.task(), {})
    sites = read_log(tmp_path / LOG, ROSTER)[-1].data["sites"]
    assert sites == {"north": {"refused": "no reply"}, "south": {"refused": "no reply"}}


def test_the_end_is_recorded_once_with_the_sites_that_confirmed_it(tmp_path: Path) -> None:
    coordinator = opened(tmp_path)
    coordinator.finish(iter(["south", "north"]))
    opened(tmp_path).finish(["north", "south"])
    assert kinds(tmp_path) == ["protocol", "roster", "finish"]
    assert read_log(tmp_path / LOG, ROSTER)[-1].data == {
        "model": parameters_digest(initial(PROTOCOL, WIDTH)),
        "confirmed": ["north", "south"],
    }


def test_another_protocol_on_the_same_folder_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    play(opened(tmp_path), 1.0, 3.0)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(StorageError, match="another protocol"):
        small_coordinator(tmp_path, small_protocol(rounds=7), KEYS["coordinator"], ROSTER)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_damaged_checkpoint_stops_the_coordinator_before_it_writes(tmp_path: Path) -> None:
    play(opened(tmp_path), 1.0, 3.0)
    path = tmp_path / CHECKPOINT
    path.write_bytes(path.read_bytes()[:-1])
    log = (tmp_path / LOG).read_bytes()
    with pytest.raises(StorageError, match="damaged"):
        opened(tmp_path)
    assert (tmp_path / LOG).read_bytes() == log


def test_a_log_signed_with_another_key_stops_the_coordinator(tmp_path: Path) -> None:
    play(opened(tmp_path), 1.0, 3.0)
    log = tmp_path / LOG
    log.write_bytes(log.read_bytes().replace(b'"sig":"', b'"sig":"AAAA', 1))
    with pytest.raises(TrustError):
        opened(tmp_path)


def test_what_it_seals_opens_as_what_it_says(tmp_path: Path) -> None:
    coordinator = opened(tmp_path)
    task = coordinator.study.task()
    sealed = coordinator.seal("south", TASK, to_bytes(task.base), 1, 1, task.base_model)
    envelope = open_envelope(sealed, ROSTER)
    assert envelope.header == Header(
        kind=TASK,
        study="small",
        protocol_digest=PROTOCOL.digest,
        run=coordinator.run,
        round=1,
        attempt=1,
        sender="coordinator",
        receiver="south",
        base_model=parameters_digest(initial(PROTOCOL, WIDTH)),
    )
    assert envelope.body == to_bytes(task.base)


@pytest.mark.parametrize(
    ("study", "kind"), [(PROTOCOL, FINISH), (private_protocol(), TASK), (private_protocol(), FINISH)]
)
def test_the_end_and_each_task_of_a_private_study_show_the_log(
    tmp_path: Path, study: StudyProtocol, kind: str
) -> None:
    coordinator = small_coordinator(tmp_path, study, KEYS["coordinator"], ROSTER)
    sealed = coordinator.seal("south", kind, b"", 1, 1, NO_MODEL)
    lines = (tmp_path / LOG).read_bytes().splitlines()
    shown = read_shown(open_envelope(sealed, ROSTER).header.log)
    assert (shown.old, shown.proof) == (0, ())
    assert (shown.signed.checkpoint.size, shown.signed.checkpoint.root) == (2, Tree(lines).root())


ANSWER = Header(
    kind=PRESENT,
    study="small",
    protocol_digest=PROTOCOL.digest,
    run=RUN,
    round=0,
    attempt=0,
    sender="north",
    receiver="coordinator",
    base_model=NO_MODEL,
)


def test_an_answer_is_believed_by_its_signature_only(tmp_path: Path) -> None:
    coordinator = opened(tmp_path)
    answer = replace(ANSWER, run=coordinator.run)
    strangers, _ = keys_and_roster("north")
    assert coordinator.name_in(seal(KEYS["north"], answer, b""), PRESENT) == "north"
    assert coordinator.name_in(seal(strangers["north"], answer, b""), PRESENT) is None
    assert coordinator.name_in(seal(KEYS["south"], answer, b""), PRESENT) is None
    assert coordinator.name_in(seal(KEYS["north"], answer, b""), FINISHED) is None
    assert coordinator.name_in(seal(KEYS["north"], ANSWER, b""), PRESENT) is None  # an earlier run's
    assert coordinator.name_in(b"not an envelope", PRESENT) is None


@pytest.mark.parametrize("change", [{"protocol_digest": "1" * 64}, {"receiver": "south"}])
def test_an_answer_meant_for_something_else_names_nobody(tmp_path: Path, change: dict[str, str]) -> None:
    other = replace(ANSWER, **change)  # type: ignore[arg-type]
    assert opened(tmp_path).name_in(seal(KEYS["north"], other, b""), PRESENT) is None
