"""A whole study killed before, within and after every write, fsync, rename and send, then resumed.

Nothing is lost, never less is charged than was released, at most one attempt is extra, and without privacy a
resumed study ends in the same model bit for bit. Of crashes that leave the same bytes behind one is taken.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.crashes import DURABLE, Acknowledge, Crash, distinct_crash_points
from tests.studies import private_protocol, roster_of, small_federation, small_protocol

from wardround.common.learning.exchange import UPDATE
from wardround.common.learning.parameters import to_bytes
from wardround.common.privacy.events import GaussianSteps
from wardround.common.study.protocol import StudyProtocol
from wardround.common.trust.envelope import open_envelope
from wardround.common.trust.studylog import read_log
from wardround.server.coordinator import LOG
from wardround.simulations import grid as grid_module
from wardround.simulations.federation import run_federation
from wardround.simulations.grid import InlineGrid
from wardround.simulations.hospitals import exposures

ROUNDS = 2
SEND = (*DURABLE, (InlineGrid, "push_messages"), (grid_module, "deliver"))
SHARE = pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.slow)])
"""Of how many crashes one is taken: some in `make test`, all of them behind `slow`."""


def running(protocol: StudyProtocol) -> Callable[[Path, Acknowledge], None]:
    def action(folder: Path, acknowledge: Acknowledge) -> None:
        original = InlineGrid.pull_messages

        def overheard(grid: InlineGrid, identifiers: list[str]) -> object:
            replies = list(original(grid, identifiers))
            for reply in replies:
                _tell(folder, reply, acknowledge)
            return replies

        InlineGrid.pull_messages = overheard  # type: ignore[method-assign,assignment]
        run_federation(
            small_federation(folder, protocol), on_round=lambda number, _: acknowledge(f"round {number}")
        )

    return action


def _tell(folder: Path, reply: object, acknowledge: Acknowledge) -> None:
    """Whatever reached the transport counts as released."""
    from flwr.app import Message

    from wardround.common.flower.records import unpack

    if not isinstance(reply, Message) or reply.has_error():
        return
    federation = small_federation(folder, private_protocol())
    envelope = open_envelope(unpack(reply.content), roster_of(federation))
    if envelope.header.kind == UPDATE:
        acknowledge(f"released {envelope.header.sender} {envelope.header.round}.{envelope.header.attempt}")


def released(crash: Crash, site: str) -> int:
    lines = {line for line in crash.acknowledged if line.startswith(f"released {site} ")}
    return len(lines)


def charged(folder: Path, number: int) -> int:
    federation = small_federation(folder, private_protocol(rounds=ROUNDS))
    return sum(
        event.steps for event in exposures(federation.hospitals[number]) if isinstance(event, GaussianSteps)
    )


@SHARE
def test_a_private_study_survives_every_crash(every: int, tmp_path: Path, quick_disk: None) -> None:
    protocol = private_protocol(rounds=ROUNDS, attempts=2)
    seen = set()
    for crash in distinct_crash_points(tmp_path, running(protocol), targets=SEND, every=every):
        for number, site in enumerate(("north", "south")):
            assert charged(crash.folder, number) >= released(crash, site), crash
        federation = small_federation(crash.folder, protocol)
        run_federation(federation)
        for number in range(2):
            assert ROUNDS <= charged(crash.folder, number) <= ROUNDS + 1, crash
        roster = roster_of(federation)
        kinds = [entry.kind for entry in read_log(federation.folder / LOG, roster)]
        assert kinds == ["protocol", "roster", *["approval"] * 2, *["round"] * ROUNDS, "result", "finish"], (
            crash
        )
        seen.add(crash.acknowledged)
        shutil.rmtree(crash.folder)
    assert every > 1 or len(seen) > 2 * ROUNDS  # crashes fell between all acknowledged steps


@SHARE
def test_a_seeded_study_resumes_to_the_same_bits_after_every_crash(
    every: int, tmp_path: Path, quick_disk: None
) -> None:
    protocol = small_protocol(
        rounds=ROUNDS, batch_size=5, local_steps=3, strategy="fedadam", server_learning_rate=0.1
    )
    expected = to_bytes(run_federation(small_federation(tmp_path / "whole", protocol)))
    (tmp_path / "crashes").mkdir()
    for crash in distinct_crash_points(tmp_path / "crashes", running(protocol), targets=SEND, every=every):
        assert to_bytes(run_federation(small_federation(crash.folder, protocol))) == expected, crash
        shutil.rmtree(crash.folder)


def test_a_full_disk_stops_the_study_and_a_resume_finishes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    protocol = private_protocol(rounds=ROUNDS, attempts=1, quorum=2)
    real, calls = os.write, 0

    def full(descriptor: int, data: bytes) -> int:
        nonlocal calls
        calls += 1
        if calls == 14:
            raise OSError(28, "No space left on device")
        return real(descriptor, data)

    from wardround.common.errors import WardroundError

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(WardroundError):
            run_federation(small_federation(tmp_path, protocol))
    run_federation(small_federation(tmp_path, protocol))
