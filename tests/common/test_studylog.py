"""The study log: signed lines that a stranger can check with openssl alone."""

import base64
import json
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.crashes import Acknowledge, crash_points

from wardround.common.errors import StorageError, TrustError, UsageError
from wardround.common.formats import digest
from wardround.common.trust.identity import Roster, SigningKey
from wardround.common.trust.studylog import StudyLog, read_log

GOLDEN = Path(__file__).resolve().parent.parent / "golden"


def key(number: int) -> SigningKey:
    return SigningKey(Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32))


COORDINATOR, EAST, STRANGER = key(9), key(1), key(7)
ROSTER = Roster(
    coordinator="coordinator",
    coordinator_key=COORDINATOR.public,
    sites={"east": EAST.public, "north": key(2).public},
)


def log(path: Path, signer: SigningKey = COORDINATOR) -> StudyLog:
    return StudyLog(path, signer, clock=lambda: datetime(2026, 11, 22, 12, tzinfo=UTC))


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "study-log.jsonl"
    for number in range(4):
        log(path, (COORDINATOR, EAST)[number % 2]).append("round", {"round": number})
    return path


def test_what_was_appended_is_read_back_with_its_signer(written: Path) -> None:
    entries = read_log(written, ROSTER)
    assert [entry.data for entry in entries] == [{"round": number} for number in range(4)]
    assert [entry.seq for entry in entries] == [0, 1, 2, 3]
    assert [ROSTER.name_of(entry.keyid) for entry in entries] == ["coordinator", "east"] * 2
    assert {entry.time for entry in entries} == {"2026-11-22T12:00:00Z"}


def test_a_line_is_a_dsse_envelope_that_names_the_line_before(written: Path) -> None:
    first, second = written.read_bytes().splitlines()[:2]
    found = json.loads(second)
    assert found["payloadType"] == "application/vnd.wardround+json"
    assert found["signatures"][0]["keyid"] == digest(EAST.public.raw)
    payload = base64.b64decode(found["payload"])
    assert json.loads(payload) == {
        "seq": 1,
        "prev": digest(first),
        "kind": "round",
        "time": "2026-11-22T12:00:00Z",
        "data": {"round": 1},
    }
    head = json.loads(base64.b64decode(json.loads(first)["payload"]))
    assert (head["format"], head["version"]) == ("wardround-study-log", 1)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_openssl_alone_confirms_a_line_and_refutes_a_changed_one(written: Path, tmp_path: Path) -> None:
    found = json.loads(written.read_bytes().splitlines()[2])
    payload = base64.b64decode(found["payload"])
    (tmp_path / "key.pem").write_bytes(COORDINATOR.public.pem())
    (tmp_path / "signature").write_bytes(base64.b64decode(found["signatures"][0]["sig"]))
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "key.pem"]
    command += ["-rawin", "-in", "message", "-sigfile", "signature"]
    for change, expected in ((payload, 0), (payload.replace(b":2}", b":3}"), 1)):
        message = b"DSSEv1 30 application/vnd.wardround+json %d " % len(change) + change
        (tmp_path / "message").write_bytes(message)
        assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode == expected


@pytest.mark.parametrize("change", ["delete", "swap", "repeat", "edit", "first", "garbage", "spaces"])
def test_a_changed_log_is_refused(change: str, written: Path) -> None:
    lines = written.read_bytes().splitlines()
    match change:
        case "delete":
            del lines[1]
        case "swap":
            lines[1], lines[2] = lines[2], lines[1]
        case "repeat":
            lines.append(lines[3])
        case "edit":
            lines[1] = lines[1].replace(b'"payload":"e', b'"payload":"f')
        case "first":
            del lines[0]
        case "garbage":
            lines[1] = b"\xff"
        case "spaces":
            lines[1] = json.dumps(json.loads(lines[1])).encode()
    written.write_bytes(b"".join(line + b"\n" for line in lines))
    with pytest.raises((TrustError, StorageError)):
        read_log(written, ROSTER)


def test_a_flipped_bit_in_any_byte_of_a_line_is_refused(written: Path) -> None:
    data = written.read_bytes()
    start = data.index(b"\n") + 1
    for at in range(start, data.index(b"\n", start)):
        flipped = bytearray(data)
        flipped[at] ^= 1 << at % 8
        written.write_bytes(bytes(flipped))
        with pytest.raises(TrustError):
            read_log(written, ROSTER)


def test_a_line_of_a_stranger_is_refused(written: Path) -> None:
    log(written, STRANGER).append("round", {"round": 9})
    with pytest.raises(TrustError, match="belongs to nobody in the roster"):
        read_log(written, ROSTER)


def test_a_line_that_claims_anothers_key_is_refused(written: Path) -> None:
    lines = written.read_bytes().splitlines()
    lines[3] = lines[3].replace(EAST.public.fingerprint.encode(), COORDINATOR.public.fingerprint.encode())
    written.write_bytes(b"".join(line + b"\n" for line in lines))
    with pytest.raises(TrustError, match="signature does not belong"):
        read_log(written, ROSTER)
    with pytest.raises(TrustError, match="signature does not belong"):
        log(written)


def test_a_torn_last_line_is_cut_when_the_log_is_opened_for_writing(written: Path) -> None:
    whole = written.read_bytes()
    written.write_bytes(whole + b'{"payload":"e')
    with pytest.raises(TrustError, match="torn"):
        read_log(written, ROSTER)
    opened = log(written)
    assert written.read_bytes() == whole
    assert opened.append("round", {"round": 4}).seq == 4
    assert len(read_log(written, ROSTER)) == 5


def test_what_is_repeated_after_a_crash_is_written_once(tmp_path: Path) -> None:
    path = tmp_path / "log"
    first = log(path).append_once("protocol", {"digest": "d", "list": (1, 2)})
    log(path).append_once("protocol", {"digest": "other"})
    assert log(path).append_once("protocol", {"list": [1, 2], "digest": "d"}).line == first.line
    assert len(read_log(path, ROSTER)) == 2


def test_two_writers_do_not_mix_their_lines(written: Path) -> None:
    one, two = log(written), log(written, EAST)
    one.append("round", {"round": 4})
    with pytest.raises(StorageError, match=r"expected \d+ bytes in") as caught:
        two.append("round", {"round": 4})
    assert "open the log again" in caught.value.advice
    assert len(read_log(written, ROSTER)) == 5


@pytest.mark.parametrize("value", [1.5, float("nan"), b"x", {1: "x"}, {"x": [0.5]}, {1, 2}])
def test_a_float_or_anything_else_that_is_not_exact_json_is_refused(value: object, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected integers, strings, lists and objects"):
        log(tmp_path / "log").append("round", {"value": value})
    assert not (tmp_path / "log").exists()


def test_a_missing_log_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="found none"):
        read_log(tmp_path / "none", ROSTER)


def test_the_golden_log_of_version_1_is_still_read_and_continued(tmp_path: Path) -> None:
    roster = Roster.from_dict(json.loads((GOLDEN / "roster-v1.json").read_bytes()))
    entries = read_log(GOLDEN / "studylog-v1.jsonl", roster)
    assert [entry.kind for entry in entries] == ["protocol", "receipt", "finish"]
    assert entries[1].data == {"round": 1, "event": {"noise_multiplier": "2.5"}, "list": [True, None, -3]}
    path = tmp_path / "log"
    shutil.copyfile(GOLDEN / "studylog-v1.jsonl", path)
    assert log(path).append("round", {}).seq == 3


def test_a_newer_log_is_refused_with_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wardround.common.trust.studylog.VERSION", 2)
    log(tmp_path / "log").append("round", {})
    monkeypatch.undo()
    with pytest.raises(StorageError, match="version 2; this release reads up to version 1") as caught:
        read_log(tmp_path / "log", ROSTER)
    assert "newer wardround" in caught.value.advice


@pytest.mark.usefixtures("quick_disk")
def test_a_crash_at_any_call_keeps_every_acknowledged_line(tmp_path: Path) -> None:
    def action(folder: Path, acknowledge: Acknowledge) -> None:
        writer = log(folder / "log")
        for number in range(3):
            writer.append_once("round", {"round": number})
            acknowledge(str(number))

    def prepare(folder: Path) -> None:
        with (folder / "log").open("wb") as file:
            file.write(b'{"torn')

    for begin in (lambda folder: None, prepare):
        root = tmp_path / begin.__name__.strip("<>")
        root.mkdir()
        for crash in crash_points(root, action, prepare=begin):
            writer = log(crash.folder / "log")
            left = read_log(crash.folder / "log", ROSTER) if (crash.folder / "log").exists() else ()
            assert len(left) >= len(crash.acknowledged)
            for number in range(3):
                writer.append_once("round", {"round": number})
            entries = read_log(crash.folder / "log", ROSTER)
            assert [entry.data["round"] for entry in entries] == [0, 1, 2]
