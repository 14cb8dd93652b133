"""A study under joint noise killed before, within and after every write, fsync, rename and send, then resumed.

No attempt has two masked uploads, no keys outlive one, nothing is charged less than was released, and a crash costs
at most one attempt. Of crashes that leave the same bytes behind one is taken.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from flwr.app import Message
from tests.crashes import DURABLE, Acknowledge, Crash, distinct_crash_points
from tests.jointrogues import NAMES, book, home, outbox
from tests.studies import joint_protocol, roster_of, small_federation

from wardround.common.errors import WardroundError
from wardround.common.flower.records import unpack
from wardround.common.formats import digest
from wardround.common.trust.studylog import read_log
from wardround.common.trust.sumroster import MASKED
from wardround.server.coordinator import LOG
from wardround.simulations import grid as grid_module
from wardround.simulations.federation import Federation, run_federation
from wardround.simulations.grid import InlineGrid

ROUNDS = 1  # two take four times as long; attempts follow each other as rounds do
PROTOCOL = joint_protocol(rounds=ROUNDS, attempts=2)
SEND = (*DURABLE, (InlineGrid, "push_messages"), (grid_module, "deliver"))

Moment = tuple[int, int]


def federation(folder: Path) -> Federation:
    return small_federation(folder, PROTOCOL, names=NAMES, archiving="none")  # its crashes: test_archive


def run(folder: Path, acknowledge: Acknowledge) -> None:
    """The whole study; whatever reached the transport counts as released."""
    original = InlineGrid.pull_messages

    def overheard(grid: InlineGrid, identifiers: list[str]) -> Iterator[Message]:
        for reply in original(grid, identifiers):
            _tell(reply, acknowledge)
            yield reply

    InlineGrid.pull_messages = overheard  # type: ignore[method-assign,assignment]
    try:
        run_federation(federation(folder), on_round=lambda number, _: acknowledge(f"round {number}"))
    finally:
        InlineGrid.pull_messages = original  # type: ignore[method-assign]


def _tell(reply: Message, acknowledge: Acknowledge) -> None:
    if reply.has_error():
        return
    data = unpack(reply.content)
    header = json.loads(data.split(b"\n")[0])
    if header["kind"] == MASKED:
        acknowledge(f"released {header['sender']} {header['round']} {header['attempt']} {digest(data)}")


def released(lines: tuple[str, ...], site: str) -> set[tuple[Moment, str]]:
    """(attempt, digest) of every masked upload of a site that left."""
    found = (line.split() for line in lines if line.startswith(f"released {site} "))
    return {((int(round_), int(attempt)), bytes_) for _, _, round_, attempt, bytes_ in found}


def moments(made: Federation, site: str, kind: str) -> list[Moment]:
    found = [entry.payload for entry in book(made, site) if entry.kind == kind]
    return [(int(str(one["round"])), int(str(one["attempt"]))) for one in found]


def check_left(crash: Crash) -> None:
    """What must hold before anybody repeats the command."""
    made = federation(crash.folder)
    for site in NAMES:
        ledger = home(made, site).folder / "ledger" / "ledger.jsonl"
        try:
            settled = moments(made, site, "settle") if ledger.exists() else []
        except WardroundError:  # a torn last line: the ledger heals it when it is opened
            continue
        assert {moment for moment, _ in released(crash.acknowledged, site)} <= set(settled), crash
        assert not [at for at in _sessions(made, site) if at in settled], crash


def _sessions(made: Federation, site: str) -> Iterator[Moment]:
    """The attempts whose keys stand in a site's outbox, drafts included."""
    folder = outbox(made, site)
    for path in folder.glob("*session*") if folder.exists() else ():
        try:
            context = json.loads(path.read_bytes())["context"]
        except ValueError:
            continue  # half a draft
        yield context["round"], context["attempt"]


def check_finished(crash: Crash, later: tuple[str, ...]) -> None:
    """What must hold once the command was repeated."""
    made = federation(crash.folder)
    for site in NAMES:
        uploads = released(crash.acknowledged + later, site)
        assert len({moment for moment, _ in uploads}) == len(uploads), crash  # one upload per attempt
        spent, returned = moments(made, site, "spend"), moments(made, site, "return")
        assert len(set(spent)) == len(spent), crash
        charged = set(spent) - set(returned)
        assert {moment for moment, _ in uploads} <= charged, crash
        torn = [entry for entry in book(made, site) if entry.kind == "torn"]
        assert ROUNDS <= len(charged) + len(torn) <= ROUNDS + 1, crash
        assert not [path.name for path in outbox(made, site).iterdir() if "session" in path.name], crash
    kinds = [entry.kind for entry in read_log(made.folder / LOG, roster_of(made))]
    assert [kind for kind in kinds if kind != "void"] == [
        "protocol",
        "roster",
        *["approval"] * len(NAMES),
        *["round"] * ROUNDS,
        "result",
        "finish",
    ]
    assert kinds.count("void") <= 1, crash


@pytest.mark.slow
@pytest.mark.usefixtures("quick_disk")
def test_a_joint_study_survives_every_crash(tmp_path: Path) -> None:
    seen, returned = set(), 0
    for crash in distinct_crash_points(tmp_path, run, targets=SEND):
        check_left(crash)
        later: list[str] = []
        run(crash.folder, later.append)
        check_finished(crash, tuple(later))
        seen.add(crash.acknowledged)
        returned += any(moments(federation(crash.folder), site, "return") for site in NAMES)
        shutil.rmtree(crash.folder)
    assert len(seen) > len(NAMES)  # crashes fell between all acknowledged steps
    assert returned > 0
