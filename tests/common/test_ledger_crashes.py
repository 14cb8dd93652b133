"""A crash at any call, or a power cut, can over-count privacy and never under-count it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.crashes import Acknowledge, Crash, crash_points, distinct_crash_points

from wardround.common.formats import digest
from wardround.common.privacy.events import DpEvent, GaussianSteps
from wardround.common.trust.identity import SigningKey
from wardround.common.trust.ledger import Ledger

KEY = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes([1]) * 32))
EVENT = GaussianSteps(noise_multiplier=2.0, sample_rate=1.0, steps=1)
P, MODEL, UPDATE = digest(b"p"), digest(b"model"), digest(b"update")
ROUNDS = 2

Step = tuple[str, Callable[[Ledger], object]]
SCRIPT: list[Step] = [
    ("reserve s", lambda x: x.reserve("s", P, EVENT, 8)),
    ("reserve t", lambda x: x.reserve("t", P, EVENT, 8)),
    ("spend s 1", lambda x: x.spend("s", P, 1, 1, MODEL)),
    ("settle s 1", lambda x: x.settle("s", P, 1, 1, UPDATE)),
    ("lose s 2", lambda x: x.spend("s", P, 1, 2, MODEL)),
    ("back s 2", lambda x: x.give_back("s", P, 1, 2)),
    ("spend t 1", lambda x: x.spend("t", P, 1, 1, MODEL)),
    ("settle t 1", lambda x: x.settle("t", P, 1, 1, UPDATE)),
    ("spend s 2", lambda x: x.spend("s", P, 2, 1, MODEL)),
    ("settle s 2", lambda x: x.settle("s", P, 2, 1, UPDATE)),
    ("close s", lambda x: x.close_study("s", P)),
]


def opened(root: Path) -> AbstractContextManager[Ledger]:
    return Ledger.open(root / "ledger", KEY, root / "heads" / "head.json")


def work(folder: Path, acknowledge: Acknowledge) -> None:
    with opened(folder) as ledger:
        for name, step in SCRIPT:
            step(ledger)
            acknowledge(name)


def count(events: list[DpEvent]) -> int:
    return sum(event.steps for event in events if isinstance(event, GaussianSteps))


def check_left(crash: Crash) -> None:
    """What a reopened ledger must know of what was acknowledged."""
    done = crash.acknowledged
    with opened(crash.folder) as ledger:
        for study in ("s", "t"):
            spent = sum(name.startswith(f"spend {study}") for name in done)
            spent += (f"lose {study} 2" in done) - (f"back {study} 2" in done)
            # Of a return that was not acknowledged, the charge may be there or not: nothing had left.
            unsure = f"lose {study} 2" in done and f"back {study} 2" not in done
            assert spent - unsure <= count(ledger.spent(study)) <= spent + 1
            for round_ in range(1, ROUNDS + 1):
                if f"settle {study} {round_}" in done:
                    assert ledger.settled(study, P, round_, 1) == UPDATE
        reserved = [study for study in ("s", "t") if f"reserve {study}" in done]
        if len(done) < len(SCRIPT) - 1:
            assert all(ledger.has_open(study, P) for study in reserved)
            assert count(ledger.exposure()) >= 8 * len(reserved)


def finish(crash: Crash) -> None:
    """Every call that was not acknowledged is repeated; at most one release is charged in excess."""
    with opened(crash.folder) as ledger:
        for _, step in SCRIPT[len(crash.acknowledged) :]:
            step(ledger)
        assert not ledger.has_open("s", P)
        assert ROUNDS <= count(ledger.spent("s")) <= ROUNDS + 1
        assert 1 <= count(ledger.spent("t")) <= 2
        assert count(ledger.exposure()) == count(ledger.spent("s")) + 8


@pytest.mark.parametrize(
    "crashes", [distinct_crash_points, pytest.param(crash_points, marks=pytest.mark.slow)]
)
@pytest.mark.usefixtures("quick_disk")
def test_a_crash_at_any_call_never_under_counts_and_the_study_can_go_on(
    crashes: Callable[..., Iterator[Crash]], tmp_path: Path
) -> None:
    seen = set()
    for crash in crashes(tmp_path, work):
        check_left(crash)
        check_left(crash)  # the healing itself changed nothing further
        finish(crash)
        seen.add((crash.call, crash.how))
    assert {how for _, how in seen} == {"before", "after", "half", "power cut"}
    assert {call for call, _ in seen} == {"write", "fsync", "replace"}


@pytest.mark.usefixtures("quick_disk")
def test_a_crash_while_a_torn_line_is_healed_loses_neither_the_entry_nor_the_charge(tmp_path: Path) -> None:
    def prepare(folder: Path) -> None:
        with opened(folder) as ledger:
            for _, step in SCRIPT[:3]:
                step(ledger)
        with (folder / "ledger" / "ledger.jsonl").open("ab") as file:
            file.write(b'{"kind":"settle","payl')

    def heal(folder: Path, acknowledge: Acknowledge) -> None:
        with opened(folder):
            acknowledge("healed")

    number = 0
    for crash in crash_points(tmp_path, heal, prepare=prepare):
        with opened(crash.folder) as ledger:
            assert count(ledger.spent("s")) == 2
            assert count(ledger.spent("t")) == 1
            assert ledger.head[0] == 4
        number += 1
    assert number > 20


def test_a_torn_first_reservation_is_healed_without_a_witness(tmp_path: Path) -> None:
    with opened(tmp_path):
        pass
    with (tmp_path / "ledger" / "ledger.jsonl").open("ab") as file:
        file.write(b'{"kind":"reser')
    for _ in range(2):
        with opened(tmp_path) as ledger:
            assert ledger.head[0] == 1
            assert ledger.spent() == []
        (tmp_path / "heads" / "head.json").unlink()
