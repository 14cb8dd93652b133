"""Checkpoints: C2SP's own vectors, openssl as the independent check, and every way to tamper with one."""

import base64
import contextlib
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from wardround.common.errors import TrustError, UsageError
from wardround.common.trust.checkpoint import (
    LARGEST,
    Checkpoint,
    NoteSignature,
    cosign,
    key_number,
    origin,
    parse,
    parse_line,
    sign,
    verify,
    verify_cosignature,
)
from wardround.common.trust.identity import PublicKey, SigningKey
from wardround.common.trust.merkle import Tree
from wardround.common.trust.signed import LOG_DOMAIN, encoded

NOW = datetime(2026, 11, 27, 9, 30, tzinfo=UTC)
NAME = origin("brca", "ab" * 32, "07" * 16)
TREE = Tree([b"one", b"two", b"three"])
CHECKPOINT = Checkpoint(origin=NAME, size=3, root=TREE.root())


def key(number: int) -> SigningKey:
    return SigningKey(Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32))


COORDINATOR, EAST, NORTH, STRANGER = key(9), key(1), key(2), key(7)
SIGNED = sign(COORDINATOR, CHECKPOINT).with_signatures(
    [cosign(EAST, CHECKPOINT, time=NOW), cosign(NORTH, CHECKPOINT, time=NOW + timedelta(minutes=1))]
)
SITES = (EAST.public, NORTH.public)


def test_a_checkpoint_with_its_cosignatures_is_read_back_and_verified() -> None:
    found = parse(SIGNED.encode())
    assert found == SIGNED
    cosigned = verify(found, origin=NAME, coordinator=COORDINATOR.public, cosigners=SITES, quorum=2)
    assert cosigned == {
        EAST.public.fingerprint: NOW,
        NORTH.public.fingerprint: NOW + timedelta(minutes=1),
    }


def test_the_text_is_origin_size_and_root() -> None:
    root = base64.b64encode(TREE.root()).decode()
    assert CHECKPOINT.text.decode() == f"wardround/brca/{'ab' * 32}/{'07' * 16}\n3\n{root}\n"


@pytest.mark.parametrize(
    ("name", "number", "data"),
    [
        # Verifier keys: the example of C2SP signed-note, and Go's checksum database.
        ("example.com/foo", "530d903a", "AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"),
        ("sum.golang.org", "033de0ae", "Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"),
    ],
)
def test_keys_are_numbered_as_c2sp_does(name: str, number: str, data: str) -> None:
    kind, raw = base64.b64decode(data)[:1], base64.b64decode(data)[1:]
    assert key_number(name, kind, PublicKey(raw)).hex() == number


def test_openssl_alone_checks_a_signature_and_a_cosignature(tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    mine, east = SIGNED.signatures[:2]
    seconds = int.from_bytes(east.data[:8], "big")
    assert seconds == 1795771800  # date -u -d 2026-11-27T09:30:00Z +%s
    cases = [
        (COORDINATOR, CHECKPOINT.text, mine.data),
        (EAST, b"cosignature/v1\ntime 1795771800\n" + CHECKPOINT.text, east.data[8:]),
    ]
    for signer, message, signature in cases:
        for name, data in (("pem", signer.public.pem()), ("message", message), ("signature", signature)):
            (tmp_path / name).write_bytes(data)
        command = [
            "pkeyutl",
            "-verify",
            "-pubin",
            "-inkey",
            "pem",
            "-rawin",
            "-in",
            "message",
            "-sigfile",
            "signature",
        ]
        done = subprocess.run([openssl, *command], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert "Signature Verified Successfully" in done.stdout, done


def test_a_line_of_an_unknown_key_is_ignored() -> None:
    more = SIGNED.with_signatures(
        [
            cosign(STRANGER, CHECKPOINT, time=NOW),
            NoteSignature(name="rekor.example", key=b"1234", data=b"5"),
        ]
    )
    cosigned = verify(more, origin=NAME, coordinator=COORDINATOR.public, cosigners=SITES)
    assert set(cosigned) == {one.fingerprint for one in SITES}


def test_a_second_cosignature_of_a_key_does_not_displace_the_first() -> None:
    later = cosign(EAST, CHECKPOINT, time=NOW + timedelta(days=1))
    assert SIGNED.with_signatures([later]) == SIGNED


def test_too_few_cosignatures_are_refused() -> None:
    alone = sign(COORDINATOR, CHECKPOINT).with_signatures([cosign(EAST, CHECKPOINT, time=NOW)])
    with pytest.raises(TrustError, match="expected 2 cosignatures under the checkpoint of 3 lines, found 1"):
        verify(alone, origin=NAME, coordinator=COORDINATOR.public, cosigners=SITES, quorum=2)


def test_another_studys_checkpoint_is_refused() -> None:
    with pytest.raises(TrustError, match="expected a checkpoint of wardround/other"):
        verify(SIGNED, origin=origin("other", "ab" * 32, "07" * 16), coordinator=COORDINATOR.public)


def test_a_checkpoint_that_somebody_else_signed_is_refused() -> None:
    for signed in (sign(STRANGER, CHECKPOINT), sign(EAST, CHECKPOINT)):
        with pytest.raises(TrustError, match="did not sign this checkpoint"):
            verify(signed, origin=NAME, coordinator=COORDINATOR.public)


def test_a_cosignature_is_not_the_coordinators_signature() -> None:
    """The coordinator may cosign too, as a site of no study does; that alone signs nothing."""
    only = parse(CHECKPOINT.text + b"\n" + cosign(COORDINATOR, CHECKPOINT, time=NOW).line.encode())
    with pytest.raises(TrustError, match="did not sign this checkpoint"):
        verify(only, origin=NAME, coordinator=COORDINATOR.public)


@pytest.mark.parametrize("changed", ["size", "root", "origin", "run"])
def test_a_signature_does_not_move_to_another_checkpoint(changed: str) -> None:
    other = {
        "size": Checkpoint(origin=NAME, size=2, root=CHECKPOINT.root),
        "root": Checkpoint(origin=NAME, size=3, root=TREE.root(2)),
        "origin": Checkpoint(origin=origin("brca", "ac" * 32, "07" * 16), size=3, root=CHECKPOINT.root),
        "run": Checkpoint(origin=origin("brca", "ab" * 32, "08" * 16), size=3, root=CHECKPOINT.root),
    }[changed]
    moved = parse(other.text + SIGNED.encode()[len(CHECKPOINT.text) :])
    with pytest.raises(TrustError):
        verify(moved, origin=other.origin, coordinator=COORDINATOR.public)
    stolen = sign(COORDINATOR, other).with_signatures(SIGNED.signatures[1:])
    with pytest.raises(TrustError):
        verify(stolen, origin=other.origin, coordinator=COORDINATOR.public, cosigners=SITES)


def test_the_time_of_a_cosignature_is_signed() -> None:
    line = SIGNED.signatures[1]
    verify_cosignature(line, CHECKPOINT, EAST.public)
    later = (int.from_bytes(line.data[:8], "big") + 1).to_bytes(8, "big")
    moved = NoteSignature(name=line.name, key=line.key, data=later + line.data[8:])
    with pytest.raises(TrustError, match="does not belong to key"):
        verify_cosignature(moved, CHECKPOINT, EAST.public)


def test_a_time_beyond_the_calendar_is_refused() -> None:
    line = SIGNED.signatures[1]
    never = NoteSignature(name=line.name, key=line.key, data=b"\xff" * 8 + line.data[8:])
    with pytest.raises(TrustError, match="a time that cannot be meant"):
        verify_cosignature(never, CHECKPOINT, EAST.public)


def test_two_lines_of_one_key_are_refused() -> None:
    twice = parse(SIGNED.encode() + SIGNED.signatures[0].line.encode())
    with pytest.raises(TrustError, match="two of one key"):
        verify(twice, origin=NAME, coordinator=COORDINATOR.public)


@given(st.data())
def test_every_changed_byte_is_refused(data: st.DataObject) -> None:
    whole = SIGNED.encode()
    at = data.draw(st.integers(0, len(whole) - 1))
    bit = data.draw(st.integers(0, 7))
    changed = whole[:at] + bytes([whole[at] ^ (1 << bit)]) + whole[at + 1 :]
    with pytest.raises(TrustError):
        verify(parse(changed), origin=NAME, coordinator=COORDINATOR.public, cosigners=SITES, quorum=2)


@given(st.binary(max_size=300))
def test_no_bytes_make_the_reader_fail_otherwise_than_by_refusing(data: bytes) -> None:
    for whole in (data, CHECKPOINT.text + b"\n" + data, CHECKPOINT.text + b"\n\xe2\x80\x94 " + data + b"\n"):
        with contextlib.suppress(TrustError):
            assert parse(whole).encode() == whole


@pytest.mark.parametrize(
    "text",
    [
        "",
        "wardround/a\n",
        f"{NAME}\n3\nnot base64\n\n\u2014 x YWJjZGU=\n",
        f"{NAME}\n03\n{'A' * 43}=\n\n\u2014 x YWJjZGU=\n",  # a second spelling of 3
        f"{NAME}\n-3\n{'A' * 43}=\n\n\u2014 x YWJjZGU=\n",
        f"{NAME}\n{'9' * 19}\n{'A' * 43}=\n\n\u2014 x YWJjZGU=\n",
        f"{NAME}\n\u0663\n{'A' * 43}=\n\n\u2014 x YWJjZGU=\n",  # an Arabic three
        f"{NAME}\n3\n{'A' * 40}\n\n\u2014 x YWJjZGU=\n",  # 30 bytes
        f"sigsum/x\n3\n{'A' * 43}=\n\n\u2014 x YWJjZGU=\n",
        f"{NAME}\n3\n{'A' * 43}=\n\n",  # nobody signed
        f"{NAME}\n3\n{'A' * 43}=\n\n- x YWJjZGU=\n",
        f"{NAME}\n3\n{'A' * 43}=\n\n\u2014 x YWJj\n",  # shorter than a key's number
        f"{NAME}\n3\n{'A' * 43}=\n\n\u2014 x y YWJjZGU=\n",
        f"{NAME}\n3\n{'A' * 43}=\n\n\u2014 x YWJjZGU=",  # no last newline
        f"{NAME}\n3\n{'A' * 43}=\n\n" + "\u2014 x YWJjZGU=\n" * 1001,
    ],
)
def test_a_malformed_note_is_refused(text: str) -> None:
    with pytest.raises(TrustError, match="expected"):
        parse(text.encode())


def test_a_note_that_is_too_large_is_not_parsed() -> None:
    with pytest.raises(TrustError, match="expected at most 262144 bytes"):
        parse(b"x" * (LARGEST + 1))


@pytest.mark.parametrize(
    "line", ["", "\u2014", "\u2014 x", "\u2014  YWJjZGU=", "\u2014 a+b YWJjZGU=", "x YWJjZGU="]
)
def test_a_malformed_line_is_refused(line: str) -> None:
    with pytest.raises(TrustError, match="expected"):
        parse_line(line)


def test_a_checkpoint_that_has_no_text_cannot_be_made() -> None:
    root = CHECKPOINT.root
    for name, size, short in (("x", 1, root), (NAME + " ", 1, root), (NAME, -1, root), (NAME, 1, root[:31])):
        with pytest.raises(UsageError):
            Checkpoint(origin=name, size=size, root=short)
    for digest, run in (("ab", "07" * 16), ("ab" * 32, ""), ("ab" * 32, "07" * 32)):
        with pytest.raises(UsageError, match="expected the digest of a protocol and a run"):
            origin("brca", digest, run)


def test_no_other_text_can_be_signed_as_a_note() -> None:
    """What is signed for another purpose begins otherwise, so no signature serves for both."""
    for message in (b"", b"x", encoded(LOG_DOMAIN, b"{}"), b"DSSEv1 wardround/"):
        with pytest.raises(TrustError, match="found other bytes to sign"):
            COORDINATOR.sign_note(message)
        with pytest.raises(TrustError, match="found other bytes to sign"):
            COORDINATOR.public.verify_note(message, b"\x00" * 64)
