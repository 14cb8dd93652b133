"""A full or failing disk stops a charge; it never loses one, and never leaves the ledger unusable."""

import errno
import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from wardround.common.errors import StorageError
from wardround.common.formats import digest
from wardround.common.privacy.events import GaussianSteps
from wardround.common.trust.identity import SigningKey
from wardround.common.trust.ledger import Ledger

KEY = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes([1]) * 32))
EVENT = GaussianSteps(noise_multiplier=2.5, sample_rate=0.25, steps=4)
P, MODEL, UPDATE = (digest(text) for text in (b"p", b"model", b"update"))


def opened(root: Path) -> AbstractContextManager[Ledger]:
    return Ledger.open(root / "ledger", KEY, root / "heads" / "head.json")


def book(root: Path) -> Path:
    return root / "ledger" / "ledger.jsonl"


def charges(ledger: Ledger) -> int:
    return sum(event.steps for event in ledger.spent() if isinstance(event, GaussianSteps)) // EVENT.steps


@pytest.fixture
def used(tmp_path: Path) -> Path:
    """The folder of a ledger with two charges."""
    with opened(tmp_path) as ledger:
        ledger.reserve("s", P, EVENT, 6)
        ledger.spend("s", P, 1, 1, MODEL)
        ledger.spend("s", P, 2, 1, MODEL)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "failing"), [("write", 1), ("write", 2), ("fsync", 1), ("fsync", 2), ("fsync", 3)]
)
def test_a_full_disk_stops_a_charge_and_nothing_is_forgotten(
    name: str, failing: int, used: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = getattr(os, name), []

    def full(*given: Any) -> Any:
        calls.append(name)
        if len(calls) == failing:
            if name == "write":
                real(given[0], bytes(given[1])[:7])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*given)

    with opened(used) as ledger:
        before = ledger.head, ledger.spent(), book(used).read_bytes()
        with monkeypatch.context() as patch:
            patch.setattr(os, name, full)
            with pytest.raises(StorageError, match="No space left on device"):
                ledger.spend("s", P, 3, 1, MODEL)
        if failing == 1:
            assert (ledger.head, ledger.spent(), book(used).read_bytes()) == before
        ledger.spend("s", P, 3, 1, MODEL)
        ledger.settle("s", P, 3, 1, UPDATE)
        after = ledger.head, ledger.spent()
    with opened(used) as ledger:
        assert (ledger.head, ledger.spent()) == after
        assert charges(ledger) == 3


def test_after_a_write_that_could_not_be_undone_the_ledger_must_be_reopened(
    used: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write

    def full(*given: Any) -> Any:
        real(given[0], bytes(given[1])[:7])
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with opened(used) as ledger:
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", full)
            patch.setattr(os, "ftruncate", full)
            with pytest.raises(StorageError):
                ledger.spend("s", P, 3, 1, MODEL)
        with pytest.raises(StorageError, match="bytes in") as caught:
            ledger.spend("s", P, 3, 1, MODEL)
        assert "open the ledger again" in caught.value.advice
        assert charges(ledger) == 2
    with opened(used) as ledger:
        assert charges(ledger) == 3
        ledger.spend("s", P, 3, 1, MODEL)
