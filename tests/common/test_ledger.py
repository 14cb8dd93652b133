"""The site's ledger: what it charges, what it refuses, and what it detects."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from wardround.common.errors import StorageError, TrustError
from wardround.common.formats import canonical, digest
from wardround.common.privacy.events import GaussianSteps, NonPrivate
from wardround.common.trust.identity import SigningKey
from wardround.common.trust.ledger import Ledger, read_ledger
from wardround.common.trust.signed import text_of

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
KEY = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes([1]) * 32))
OTHER_KEY = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes([2]) * 32))
EVENT = GaussianSteps(noise_multiplier=2.5, sample_rate=0.25, steps=4)
P, Q = digest(b"protocol"), digest(b"another protocol")
MODEL, UPDATE = digest(b"model"), digest(b"update")


def steps(count: int) -> list[GaussianSteps]:
    return [GaussianSteps(noise_multiplier=2.5, sample_rate=0.25, steps=count)]


def opened(root: Path, key: SigningKey = KEY, pool: str = "patients") -> AbstractContextManager[Ledger]:
    clock = lambda: datetime(2026, 11, 22, 12, tzinfo=UTC)  # noqa: E731
    return Ledger.open(root / "ledger", key, root / "heads" / "head.json", pool=pool, clock=clock)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with opened(tmp_path) as made:
        yield made


def test_an_open_study_counts_with_its_whole_reservation(ledger: Ledger) -> None:
    assert ledger.exposure() == []
    ledger.reserve("s", P, EVENT, 6)
    assert ledger.exposure() == steps(24)
    assert ledger.spent() == []
    ledger.spend("s", P, 1, 1, MODEL)
    ledger.settle("s", P, 1, 1, UPDATE)
    ledger.spend("s", P, 2, 1, MODEL)
    assert ledger.exposure() == steps(24)
    assert ledger.spent("s") == ledger.spent() == steps(8)
    assert ledger.spent("t") == []


def test_a_finished_study_counts_with_what_it_spent(ledger: Ledger) -> None:
    ledger.reserve("s", P, EVENT, 6)
    ledger.spend("s", P, 1, 1, MODEL)
    assert ledger.has_open("s", P)
    ledger.close_study("s", P)
    assert not ledger.has_open("s", P)
    assert ledger.exposure() == steps(4)
    ledger.reserve("t", Q, EVENT, 1)
    ledger.close_study("t", Q)
    assert ledger.exposure() == steps(4)


def test_a_study_without_privacy_shows_in_the_exposure(ledger: Ledger) -> None:
    ledger.reserve("s", P, NonPrivate(), 6)
    assert ledger.exposure() == [NonPrivate()]
    ledger.spend("s", P, 1, 1, MODEL)
    ledger.close_study("s", P)
    assert ledger.exposure() == ledger.spent() == [NonPrivate()]


def test_several_studies_add_up_in_the_order_of_their_reservations(ledger: Ledger) -> None:
    ledger.reserve("s", P, EVENT, 2)
    ledger.reserve("t", Q, NonPrivate(), 1)
    ledger.reserve("s", Q, EVENT, 3)
    assert ledger.exposure() == [*steps(8), NonPrivate(), *steps(12)]


def test_the_last_attempt_and_its_bytes_are_known(ledger: Ledger) -> None:
    ledger.reserve("s", P, EVENT, 6)
    assert ledger.last("s", P) is None
    ledger.spend("s", P, 1, 1, MODEL)
    assert ledger.settled("s", P, 1, 1) is None
    ledger.settle("s", P, 1, 1, UPDATE)
    ledger.spend("s", P, 1, 2, MODEL)
    assert ledger.last("s", P) == (1, 2)
    assert ledger.settled("s", P, 1, 1) == UPDATE
    assert ledger.settled("s", P, 1, 2) is None


def test_repeating_any_call_adds_no_entry(ledger: Ledger) -> None:
    calls: list[Callable[[Ledger], object]] = [
        lambda x: x.reserve("s", P, EVENT, 2),
        lambda x: x.spend("s", P, 1, 1, MODEL),
        lambda x: x.settle("s", P, 1, 1, UPDATE),
        lambda x: x.close_study("s", P),
    ]
    for call in calls:
        first = call(ledger)
        head = ledger.head
        assert call(ledger) == first
        assert ledger.head == head


def test_a_finished_study_runs_again_only_when_a_person_allows_it_and_both_runs_count(ledger: Ledger) -> None:
    for _ in range(2):
        ledger.reserve("s", P, EVENT, 3)
        ledger.spend("s", P, 1, 1, MODEL)
        ledger.close_study("s", P)
        ledger.allow_again("s", P)
    assert ledger.exposure() == [*steps(4), *steps(4)]
    assert ledger.spent("s") == [*steps(4), *steps(4)]
    assert ledger.last("s", P) is None


def test_everything_is_there_after_reopening(tmp_path: Path) -> None:
    with opened(tmp_path) as ledger:
        ledger.reserve("s", P, EVENT, 6)
        ledger.spend("s", P, 1, 1, MODEL)
        ledger.settle("s", P, 1, 1, UPDATE)
        ledger.reserve("t", Q, NonPrivate(), 1)
        ledger.close_study("t", Q)
        before = ledger.head, ledger.exposure(), ledger.spent()
    with opened(tmp_path) as ledger:
        assert (ledger.head, ledger.exposure(), ledger.spent()) == before
        assert ledger.settled("s", P, 1, 1) == UPDATE
        with pytest.raises(TrustError):
            ledger.spend("s", P, 1, 1, MODEL)
        ledger.spend("s", P, 1, 2, MODEL)


def test_the_files_are_for_their_owner_only(tmp_path: Path) -> None:
    with opened(tmp_path) as ledger:
        ledger.reserve("s", P, EVENT, 6)
    for path in (tmp_path / "ledger", *(tmp_path / "ledger").iterdir(), tmp_path / "heads" / "head.json"):
        assert path.stat().st_mode & 0o077 == 0


def test_a_line_is_signed_over_everything_else_and_names_the_line_before(tmp_path: Path) -> None:
    with opened(tmp_path) as ledger:
        ledger.reserve("s", P, EVENT, 6)
    first, second = (tmp_path / "ledger" / "ledger.jsonl").read_bytes().splitlines()
    found = json.loads(second)
    assert found["prev"] == digest(first)
    assert found["seq"] == 1
    assert found["time"] == "2026-11-22T00:00:00Z"
    assert found["payload"] == {
        "study": "s",
        "protocol": P,
        "releases": 6,
        "event": {"kind": "gaussian-steps", "noise_multiplier": "2.5", "sample_rate": "0.25", "steps": 4},
    }
    signed = canonical({name: value for name, value in found.items() if name != "signature"})
    pae = b"DSSEv1 37 application/vnd.wardround.ledger+json %d %b" % (len(signed), signed)
    secret = Ed25519PrivateKey.from_private_bytes(bytes([1]) * 32)
    assert found["signature"] == text_of(secret.sign(pae))


def test_a_closed_ledger_answers_nothing_more(tmp_path: Path) -> None:
    with opened(tmp_path) as ledger:
        ledger.reserve("s", P, EVENT, 6)
    with pytest.raises(StorageError, match="the ledger is closed"):
        ledger.spend("s", P, 1, 1, MODEL)


def test_the_golden_ledger_of_version_1_is_still_read_and_continued(tmp_path: Path) -> None:
    entries = read_ledger(GOLDEN / "ledger-v1.jsonl", KEY.public)
    kinds = ["open", "reserve", "spend", "settle", "torn", "spend", "close", "again", "reserve", "reserve"]
    assert [entry.kind for entry in entries] == kinds
    (tmp_path / "ledger").mkdir()
    (tmp_path / "heads").mkdir()
    shutil.copy(GOLDEN / "ledger-v1.jsonl", tmp_path / "ledger" / "ledger.jsonl")
    shutil.copy(GOLDEN / "ledger-head-v1.json", tmp_path / "heads" / "head.json")
    with opened(tmp_path) as ledger:
        assert ledger.exposure() == [*steps(12), *steps(8), NonPrivate()]
        ledger.spend("response", P, 1, 1, MODEL)


def test_the_cost_of_an_entry_does_not_grow_with_the_ledger(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []
    real = os.write

    def count(descriptor: int, data: bytes) -> int:
        written.append(len(data))
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", count)
    ledger.reserve("s", P, EVENT, 200)
    for round_ in range(10, 60):
        ledger.spend("s", P, round_, 1, MODEL)
    assert len(written) == 2 * 51
    assert max(written) - min(written[2::2]) < 100


def test_no_entry_tells_how_long_a_site_computed(tmp_path: Path) -> None:
    key, written = SigningKey.generate(), []
    for hours in (0, 9):
        place = tmp_path / str(hours)
        clock = iter([datetime(2026, 11, 22, 8 + passed, 30, tzinfo=UTC) for passed in (0, 1, 2, 2 + hours)])
        with Ledger.open(place / "l", key, place / "h" / "head.json", clock=clock.__next__) as ledger:
            ledger.reserve("s", P, EVENT, 6)
            ledger.spend("s", P, 1, 1, P)
            ledger.settle("s", P, 1, 1, P)
        written.append((place / "l" / "ledger.jsonl").read_bytes())
    assert written[0] == written[1]
