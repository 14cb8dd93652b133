"""A statement is its signer's, of its kind, to the last bit; openssl alone can check one."""

import base64
import json
import subprocess
from pathlib import Path

import pytest

from wardround.common.errors import StorageError, TrustError
from wardround.common.formats import canonical
from wardround.common.trust.identity import SigningKey
from wardround.common.trust.statement import read_statement, sign_statement

KEY, STRANGER = SigningKey.generate(), SigningKey.generate()
SAID = {"site": "north", "releases": 6}
SIGNED = sign_statement(KEY, "approval", SAID)


def test_what_was_said_is_read_back() -> None:
    found = read_statement(SIGNED, kind="approval", signer=KEY.public)
    assert (found.kind, found.fields, found.keyid) == ("approval", SAID, KEY.public.fingerprint)
    assert sign_statement(KEY, "approval", SAID) == SIGNED


def test_every_flipped_bit_is_refused() -> None:
    for place in range(len(SIGNED)):
        changed = bytearray(SIGNED)
        changed[place] ^= 1
        with pytest.raises((TrustError, StorageError)):
            read_statement(bytes(changed), kind="approval", signer=KEY.public)


def test_another_signer_kind_or_purpose_is_refused() -> None:
    with pytest.raises(TrustError, match="found another"):
        read_statement(SIGNED, kind="approval", signer=STRANGER.public)
    with pytest.raises(TrustError, match="of kind 'witness'"):
        read_statement(SIGNED, kind="witness", signer=KEY.public)
    line = json.loads(SIGNED)
    payload = base64.b64decode(line["payload"])
    for domain in ("application/vnd.wardround+json", "application/vnd.wardround.envelope"):
        line["signatures"][0]["sig"] = base64.b64encode(KEY.sign(domain, payload)).decode()
        with pytest.raises(TrustError, match="signature does not belong"):
            read_statement(canonical(line), kind="approval", signer=KEY.public)


def test_a_stranger_who_names_anothers_key_is_refused() -> None:
    line = json.loads(sign_statement(STRANGER, "approval", SAID))
    line["signatures"][0]["keyid"] = KEY.public.fingerprint
    with pytest.raises(TrustError, match="signature does not belong"):
        read_statement(canonical(line), kind="approval", signer=KEY.public)


def test_two_signatures_or_a_newer_version_are_refused() -> None:
    line = json.loads(SIGNED)
    line["signatures"] *= 2
    with pytest.raises(TrustError, match="one signature"):
        read_statement(canonical(line), kind="approval", signer=KEY.public)
    newer = sign_statement(KEY, "approval", {"version": 2})
    with pytest.raises(StorageError, match="version 2"):
        read_statement(newer, kind="approval", signer=KEY.public)


def test_openssl_alone_checks_a_statement(tmp_path: Path) -> None:
    line = json.loads(SIGNED)
    payload = base64.b64decode(line["payload"])
    (tmp_path / "key.pem").write_bytes(KEY.public.pem())
    (tmp_path / "sig").write_bytes(base64.b64decode(line["signatures"][0]["sig"]))
    head = b"DSSEv1 40 application/vnd.wardround.statement+json %d " % len(payload)
    (tmp_path / "message").write_bytes(head + payload)
    words = "openssl pkeyutl -verify -pubin -inkey key.pem -rawin -in message -sigfile sig"
    done = subprocess.run(words.split(), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "Verified Successfully" in done.stdout, done
