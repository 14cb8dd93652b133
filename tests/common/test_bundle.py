"""A study bundle: data only, signed by the pinned coordinator, and nothing in it becomes a path unchecked."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.studies import keys_and_roster, small_protocol

from wardround.common.audit import evidence
from wardround.common.audit.bundling import MANIFEST
from wardround.common.audit.evidence import (
    APPROVALS,
    ARCHIVE,
    CHECKPOINTS,
    LEDGERS,
    LOG,
    MODEL,
    RESULTS,
    WITNESS,
)
from wardround.common.errors import ProtocolError, StorageError, TrustError, UsageError, WardroundError
from wardround.common.formats import digest
from wardround.common.study import bundle as module
from wardround.common.study.bundle import (
    KIND,
    LARGEST,
    STUDY,
    check_path,
    read_bundle,
    read_bundle_file,
    write_bundle,
)
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.reader import dumps
from wardround.common.trust.checkpointfile import COSIGNATURES
from wardround.common.trust.rosterfile import seal_roster
from wardround.common.trust.sealed import seal_file

KEYS, ROSTER = keys_and_roster("north", "south")
KEY = KEYS["coordinator"]
SIGNED = seal_roster(KEY, ROSTER, 4)
LOADINGS = b"feature,first\nx0,0.5\nx1,-0.5\n"


def with_loadings(name: str = "public/loadings.csv") -> StudyProtocol:
    protocol = small_protocol()
    terms = replace(
        protocol.inputs, loadings=name, loadings_sha256=digest(LOADINGS), source="a public cohort"
    )
    return replace(protocol, inputs=terms)


def made(protocol: StudyProtocol, loadings: bytes | None = None, revision: int = 1) -> bytes:
    return write_bundle(KEY, study=dumps(protocol), loadings=loadings, roster=SIGNED, revision=revision)


def forged(protocol: StudyProtocol, files: dict[str, object], **fields: object) -> bytes:
    """What a coordinator could sign that did not use `write_bundle`."""
    terms = {"revision": 1, "digest": protocol.digest, "files": files, "roster": SIGNED.decode(), **fields}
    return seal_file(KEY, KIND, terms)


def test_a_bundle_gives_back_what_went_in() -> None:
    found = read_bundle(made(with_loadings(), LOADINGS, revision=3), KEY.public)
    assert found.protocol.digest == with_loadings().digest
    assert (found.loadings, found.revision, found.roster.version) == (LOADINGS, 3, 4)
    assert found.roster.roster == ROSTER
    assert found.roster_file == SIGNED


def test_the_same_study_gives_the_same_bytes() -> None:
    assert made(small_protocol()) == made(small_protocol())


def test_a_person_can_read_the_study_in_it() -> None:
    assert json.loads(made(small_protocol()))["files"] == {STUDY: dumps(small_protocol())}


def test_another_key_than_the_pinned_one_is_refused() -> None:
    with pytest.raises(TrustError, match="signature"):
        read_bundle(made(small_protocol()), KEYS["north"].public)


def test_every_changed_character_is_noticed() -> None:
    data = made(small_protocol())
    text = data.replace(b"rounds = 2", b"rounds = 3")
    assert text != data
    with pytest.raises(TrustError, match="signature"):
        read_bundle(text, KEY.public)


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9])
def test_a_bundle_that_was_cut_short_is_refused(keep: float) -> None:
    data = made(small_protocol())
    with pytest.raises(TrustError, match="or a part of one"):
        read_bundle(data[: int(len(data) * keep)], KEY.public)


@pytest.mark.parametrize("name", ["app.py", "study.toml.py", "../identity.pem", "setup.cfg", ""])
def test_a_file_that_the_study_does_not_name_is_refused(name: str) -> None:
    protocol = small_protocol()
    with pytest.raises(TrustError, match="neither"):
        read_bundle(forged(protocol, {STUDY: dumps(protocol), name: "import os"}), KEY.public)


def test_loadings_with_another_digest_are_refused() -> None:
    protocol = with_loadings()
    files: dict[str, object] = {
        STUDY: dumps(protocol),
        protocol.inputs.loadings: LOADINGS.decode() + "x2,1\n",
    }
    with pytest.raises(TrustError, match="loadings"):
        read_bundle(forged(protocol, files), KEY.public)


def test_loadings_that_are_missing_are_refused() -> None:
    protocol = with_loadings()
    with pytest.raises(TrustError, match="loadings"):
        read_bundle(forged(protocol, {STUDY: dumps(protocol)}), KEY.public)


@pytest.mark.parametrize(
    "name",
    ["../x.csv", "/etc/passwd", "a/../../x", "a\\b", ".", "study.toml", "a//b", "./x", "x\n.csv", "a/./b"],
)
def test_a_path_that_leads_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(ProtocolError, match="plain path"):
        check_path(name)


RECORD = (
    LOG,
    CHECKPOINTS,
    COSIGNATURES,
    evidence.ROSTER,
    MODEL,
    RESULTS,
    MANIFEST,
    ARCHIVE,
    LEDGERS,
    WITNESS,
    APPROVALS,
)


@pytest.mark.parametrize(
    "name", [*RECORD, "ledgers/north.jsonl", "Results.JSON", "federation/study-log.jsonl"]
)
def test_loadings_under_the_name_of_a_record_are_refused_wherever_a_study_comes_from(name: str) -> None:
    """Laid over an auditor's bundle they would stand in that record's place."""
    with pytest.raises(ProtocolError, match="plain path"):
        check_path(name)
    protocol = with_loadings(name)
    with pytest.raises(ProtocolError, match="plain path"):
        read_bundle(forged(protocol, {STUDY: dumps(protocol), name: LOADINGS.decode()}), KEY.public)


@pytest.mark.parametrize("name", ["../x.csv", "/tmp/x.csv"])  # noqa: S108  (nothing is written there)
def test_a_bundle_whose_loadings_lead_elsewhere_is_refused(name: str) -> None:
    protocol = with_loadings(name)
    with pytest.raises(ProtocolError, match="plain path"):
        read_bundle(forged(protocol, {STUDY: dumps(protocol), name: LOADINGS.decode()}), KEY.public)
    with pytest.raises(ProtocolError, match="plain path"):
        made(protocol, LOADINGS)


def test_a_protocol_under_another_digest_is_refused() -> None:
    protocol = small_protocol()
    with pytest.raises(TrustError, match="another digest"):
        read_bundle(
            forged(protocol, {STUDY: dumps(protocol)}, digest=small_protocol(rounds=3).digest), KEY.public
        )


@pytest.mark.parametrize(
    "change", [{"revision": 0}, {"revision": True}, {"revision": "1"}, {"files": {STUDY: 1}}, {"files": {}}]
)
def test_fields_of_the_wrong_kind_are_refused(change: dict[str, object]) -> None:
    protocol = small_protocol()
    fields = {"files": {STUDY: dumps(protocol)}, **change}
    files = fields.pop("files")
    assert isinstance(files, dict)
    with pytest.raises(TrustError):
        read_bundle(forged(protocol, files, **fields), KEY.public)


def test_a_roster_of_another_coordinator_is_refused() -> None:
    others, roster = keys_and_roster("north")
    stranger = seal_roster(others["coordinator"], roster, 1)
    with pytest.raises(WardroundError, match="roster"):
        write_bundle(KEY, study=dumps(small_protocol()), loadings=None, roster=stranger, revision=1)


def test_another_file_is_told_by_its_name() -> None:
    with pytest.raises(StorageError, match="signed roster"):
        read_bundle(SIGNED, KEY.public)


def test_a_bundle_has_a_largest_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = made(small_protocol())
    with pytest.raises(TrustError, match="at most"):
        read_bundle(data + b" " * LARGEST, KEY.public)
    monkeypatch.setattr(module, "LARGEST", len(data) - 1)
    with pytest.raises(UsageError, match="at most"):
        made(small_protocol())
    (tmp_path / "b").write_bytes(data)
    assert read_bundle_file(tmp_path / "b") == data  # one byte more than the largest: enough to be refused
    (tmp_path / "b").write_bytes(data + b"  ")
    assert len(read_bundle_file(tmp_path / "b")) == len(data)


def test_loadings_that_are_no_text_are_refused() -> None:
    terms = replace(with_loadings().inputs, loadings_sha256=digest(b"\xff"))
    with pytest.raises(ProtocolError, match="UTF-8"):
        made(replace(with_loadings(), inputs=terms), b"\xff")
