"""A ledger that was rolled back, edited, exchanged, or is open twice is refused; a torn last line is healed."""

import json
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from wardround.common.errors import StorageError, TrustError, UsageError
from wardround.common.formats import canonical, digest
from wardround.common.privacy.events import GaussianSteps
from wardround.common.trust.identity import SigningKey
from wardround.common.trust.ledger import Ledger, read_ledger
from wardround.common.trust.signed import text_of

KEY = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes([1]) * 32))
OTHER_KEY = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes([2]) * 32))
EVENT = GaussianSteps(noise_multiplier=2.5, sample_rate=0.25, steps=4)
P, Q, MODEL, UPDATE = (digest(text) for text in (b"p", b"q", b"model", b"update"))


def opened(root: Path, key: SigningKey = KEY, pool: str = "patients") -> AbstractContextManager[Ledger]:
    clock = lambda: datetime(2026, 11, 22, 12, tzinfo=UTC)  # noqa: E731
    return Ledger.open(root / "ledger", key, root / "heads" / "head.json", pool=pool, clock=clock)


def book(root: Path) -> Path:
    return root / "ledger" / "ledger.jsonl"


def head(root: Path) -> Path:
    return root / "heads" / "head.json"


def charges(ledger: Ledger) -> int:
    return sum(event.steps for event in ledger.spent() if isinstance(event, GaussianSteps)) // EVENT.steps


@pytest.fixture
def used(tmp_path: Path) -> Path:
    """The folder of a ledger with five entries: open, reserve, spend, settle, spend."""
    with opened(tmp_path) as ledger:
        ledger.reserve("s", P, EVENT, 6)
        ledger.spend("s", P, 1, 1, MODEL)
        ledger.settle("s", P, 1, 1, UPDATE)
        ledger.spend("s", P, 2, 1, MODEL)
    return tmp_path


def refused(root: Path, why: str, **named: Any) -> None:
    before = {path: path.read_bytes() for path in (book(root), head(root)) if path.exists()}
    with pytest.raises(TrustError, match=why) as caught, opened(root, **named):
        pass
    assert "data protection officer" in caught.value.advice
    assert {path: path.read_bytes() for path in (book(root), head(root)) if path.exists()} == before


def test_yesterdays_copy_is_refused(used: Path) -> None:
    yesterday = book(used).read_bytes()
    with opened(used) as ledger:
        ledger.settle("s", P, 2, 1, UPDATE)
    book(used).write_bytes(yesterday)
    refused(used, "expected at least 6 entries .* found 5: it was rolled back")


def test_a_ledger_cut_at_any_line_boundary_is_refused(used: Path) -> None:
    lines = book(used).read_bytes().splitlines(keepends=True)
    for keep in range(1, 5):
        book(used).write_bytes(b"".join(lines[:keep]))
        refused(used, "rolled back")
    book(used).write_bytes(b"")
    refused(used, "rolled back")


def test_a_torn_line_that_the_head_already_named_is_refused(used: Path) -> None:
    book(used).write_bytes(book(used).read_bytes()[:-1])
    refused(used, "rolled back")


def test_a_missing_ledger_is_refused_while_its_head_exists(used: Path) -> None:
    book(used).unlink()
    refused(used, "found none")


def test_a_missing_head_is_refused_while_the_ledger_has_charges(used: Path) -> None:
    head(used).unlink()
    refused(used, "expected the head file of .* found none")


def test_the_witness_begins_with_the_second_entry_and_may_be_lost_until_something_is_charged(
    tmp_path: Path,
) -> None:
    with opened(tmp_path) as ledger:
        assert not head(tmp_path).exists()
        ledger.reserve("s", P, EVENT, 6)
        assert head(tmp_path).exists()
    head(tmp_path).unlink()
    with opened(tmp_path) as ledger:
        assert head(tmp_path).exists()
        ledger.spend("s", P, 1, 1, MODEL)
    head(tmp_path).unlink()
    refused(tmp_path, "expected the head file of .* found none")


def test_an_old_head_is_accepted_and_renewed(used: Path) -> None:
    old = head(used).read_bytes()
    with opened(used) as ledger:
        ledger.settle("s", P, 2, 1, UPDATE)
        newest = ledger.head
    head(used).write_bytes(old)
    with opened(used) as ledger:
        assert ledger.head == newest
    assert json.loads(head(used).read_bytes())["seq"] == newest[0]


def test_another_history_with_good_signatures_is_refused(used: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    with opened(other) as ledger:
        for study in ("a", "b", "c", "d", "e"):
            ledger.reserve(study, P, EVENT, 1)
    shutil.copy(book(other), book(used))
    refused(used, "expected the entry 4 that the head names .* found another")


def test_two_histories_of_one_site_cannot_be_spliced(used: Path, tmp_path: Path) -> None:
    with opened(tmp_path / "other") as ledger:
        for study in ("a", "b", "c", "d", "e"):
            ledger.reserve(study, P, EVENT, 1)
    mixed = book(used).read_bytes().splitlines()[:3] + book(tmp_path / "other").read_bytes().splitlines()[3:]
    book(used).write_bytes(b"".join(line + b"\n" for line in mixed))
    with pytest.raises(TrustError, match="line 4: it does not follow the line before"):
        read_ledger(book(used), KEY.public)


def edit_number(lines: list[bytes]) -> None:
    lines[1] = lines[1].replace(b'"releases":6', b'"releases":9')


def edit_and_sign_by_another_key(lines: list[bytes]) -> None:
    found = json.loads(lines[1])
    del found["signature"]
    found["payload"]["releases"] = 9
    signature = OTHER_KEY.sign("application/vnd.wardround.ledger+json", canonical(found))
    lines[1] = canonical(found | {"signature": text_of(signature)})


def delete(lines: list[bytes]) -> None:
    del lines[3]


def swap(lines: list[bytes]) -> None:
    lines[2], lines[4] = lines[4], lines[2]


def repeat(lines: list[bytes]) -> None:
    lines.append(lines[4])


def blank(lines: list[bytes]) -> None:
    lines.insert(2, b"")


def garbage(lines: list[bytes]) -> None:
    lines[2] = b"\xff\xfe"


def first(lines: list[bytes]) -> None:
    del lines[0]


def space(lines: list[bytes]) -> None:
    lines[2] = lines[2].replace(b'{"kind"', b'{ "kind"')


EDITS = (edit_number, edit_and_sign_by_another_key, delete, swap, repeat, blank, garbage, first, space)


@pytest.mark.parametrize("change", EDITS, ids=lambda change: change.__name__)
def test_a_changed_line_is_refused(change: Callable[[list[bytes]], None], used: Path) -> None:
    lines = book(used).read_bytes().splitlines()
    before = list(lines)
    change(lines)
    assert lines != before
    book(used).write_bytes(b"".join(line + b"\n" for line in lines))
    with pytest.raises((TrustError, StorageError), match=r"ledger\.jsonl"), opened(used):
        pass
    with pytest.raises((TrustError, StorageError)):
        read_ledger(book(used), KEY.public)


def test_a_flipped_bit_in_any_byte_of_the_last_line_is_refused(used: Path) -> None:
    data = book(used).read_bytes()
    start = data.rindex(b"\n", 0, -1) + 1
    for at in range(start, len(data)):
        flipped = bytearray(data)
        flipped[at] ^= 1 << at % 8
        book(used).write_bytes(bytes(flipped))
        with pytest.raises(TrustError), opened(used):
            pass


def test_a_changed_or_strange_head_is_refused(used: Path, tmp_path: Path) -> None:
    good = head(used).read_bytes()
    head(used).write_bytes(good.replace(b'"seq":4', b'"seq":3'))
    refused(used, "signed by this site's key")
    with opened(tmp_path / "other", OTHER_KEY) as ledger:
        ledger.reserve("s", P, EVENT, 6)
    shutil.copy(head(tmp_path / "other"), head(used))
    refused(used, "signed by this site's key")
    head(used).write_bytes(b"")
    with pytest.raises(TrustError, match="canonical JSON in the ledger's head"), opened(used):
        pass


def test_a_rule_broken_under_good_signatures_is_refused(used: Path) -> None:
    data = book(used).read_bytes()
    last = data.splitlines()[-1]
    found = json.loads(last) | {"seq": 5, "prev": digest(last)}
    del found["signature"]
    signature = text_of(KEY.sign("application/vnd.wardround.ledger+json", canonical(found)))
    book(used).write_bytes(data + canonical(found | {"signature": signature}) + b"\n")
    refused(used, "entry 5 breaks a rule: expected something newer than round 2 attempt 1")


def test_another_key_or_another_pool_is_refused(used: Path) -> None:
    refused(used, "the signature does not fit", key=OTHER_KEY)
    refused(used, "expected the ledger of patient pool 'others'", pool="others")


def test_a_ledger_open_twice_is_refused(used: Path) -> None:
    with opened(used), pytest.raises(StorageError, match="in use by another process"), opened(used):
        pass
    with opened(used):
        pass


def test_the_head_must_lie_outside_the_folder(tmp_path: Path) -> None:
    with (
        pytest.raises(UsageError, match="outside the ledger's folder"),
        Ledger.open(tmp_path / "ledger", KEY, tmp_path / "ledger" / "x" / "head.json"),
    ):
        pass


def test_a_newer_ledger_or_head_is_refused_with_advice(used: Path) -> None:
    lines = book(used).read_bytes().splitlines(keepends=True)
    book(used).write_bytes(b"".join([lines[0].replace(b'"version":1', b'"version":2'), *lines[1:]]))
    with pytest.raises(StorageError, match="version 2") as caught, opened(used):
        pass
    assert "newer wardround" in caught.value.advice
    book(used).write_bytes(b"".join(lines))
    head(used).write_bytes(head(used).read_bytes().replace(b'"version":1', b'"version":2'))
    with pytest.raises(StorageError, match="version 2"), opened(used):
        pass


@pytest.mark.parametrize("rest", [b"{", b'{"kind":"spend"', b"\x00" * 40])
def test_a_torn_line_is_replaced_by_an_entry_and_charged_to_every_open_study(rest: bytes, used: Path) -> None:
    with opened(used) as ledger:
        ledger.reserve("t", Q, EVENT, 1)
        ledger.reserve("u", Q, EVENT, 1)
        ledger.close_study("u", Q)
        assert charges(ledger) == 2
    whole = book(used).read_bytes()
    book(used).write_bytes(whole + rest)
    with opened(used) as ledger:
        assert charges(ledger) == 4
        assert ledger.head[0] == 8
        with pytest.raises(TrustError, match="newer"):
            ledger.spend("s", P, 1, 2, MODEL)
        with pytest.raises(Exception, match="all 1 reserved releases"):
            ledger.spend("t", Q, 1, 1, MODEL)
    assert book(used).read_bytes().startswith(whole)
    assert [entry.kind for entry in read_ledger(book(used), KEY.public)][-1] == "torn"
    with opened(used) as ledger:
        assert charges(ledger) == 4


def test_a_torn_line_beyond_the_reservation_is_charged_on_top(used: Path) -> None:
    with opened(used) as ledger:
        ledger.close_study("s", P)
        ledger.reserve("t", Q, EVENT, 1)
        ledger.spend("t", Q, 1, 1, MODEL)
        assert ledger.exposure()[1:] == [EVENT]
    book(used).write_bytes(book(used).read_bytes() + b"{")
    with opened(used) as ledger:
        assert ledger.exposure()[1:] == [replace(EVENT, steps=2 * EVENT.steps)]


def test_a_copy_with_a_torn_line_is_not_read(used: Path) -> None:
    book(used).write_bytes(book(used).read_bytes() + b"{")
    with pytest.raises(TrustError, match="expected whole lines"):
        read_ledger(book(used), KEY.public)
