"""Bundles: everything that an auditor needs, nothing that is private, and a stranger's verdict on them."""

import base64
import binascii
import contextlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from tests.consortia import JOINT, Consortium, asked
from tests.cosigning import run_of
from tests.played import play
from tests.runs import command

from wardround.client.handing import hand_over as site_bundle
from wardround.client.peers import approve_peers
from wardround.common.audit.bundling import file_name, write_bundle
from wardround.common.audit.verdicts import Finding
from wardround.common.audit.verify import verify
from wardround.common.errors import StorageError, StudyError, UsageError
from wardround.common.formats import digest
from wardround.common.trust.ledger import read_ledger
from wardround.common.trust.merkle import Tree
from wardround.common.trust.statement import read_statement
from wardround.common.trust.witness import Seen
from wardround.server.enrolment import current_roster
from wardround.server.handing import hand_over as server_bundle

STUDY = asked()
PATIENT, CAP = "PATIENT-918273", "7.125"


def ward(root: Path) -> Consortium:
    """Hospitals with a marked patient and a marked cap."""
    made = Consortium(root)
    for name in made.names:
        table = made.site(name) / "patients.csv"
        lines = table.read_text(encoding="utf-8").splitlines()
        first = lines[1].split(",")
        lines[1] = ",".join([PATIENT, *first[1:]])
        table.write_text("\n".join(lines) + "\n", encoding="utf-8")
        made.edit(name, "epsilon_cap = 8.0", f"epsilon_cap = {CAP}")
    return made


def handed(made: Consortium, root: Path, study: str = "asked") -> tuple[Path, ...]:
    """The bundles of everybody."""
    found = [server_bundle(made.server, study, root / "of-the-server")]
    return (*found, *(site_bundle(made.site(name), study, root / f"of-{name}") for name in made.names))


def keys(made: Consortium, root: Path) -> Path:
    """The auditor's own key file."""
    path = root / "keys.json"
    path.write_text(json.dumps(current_roster(made.server).roster.to_dict()), encoding="utf-8")
    return path


def said(findings: Sequence[Finding], verdict: str) -> list[str]:
    return [f"{one.claim}: {one.found} ({one.where})" for one in findings if one.verdict == verdict]


@pytest.mark.parametrize("mechanism", ["site-noise", "joint-noise"])
def test_a_stranger_refutes_nothing_of_an_honest_study(tmp_path: Path, mechanism: str) -> None:
    made = ward(tmp_path)
    protocol = STUDY
    if mechanism == "joint-noise":
        protocol = replace(asked(privacy=JOINT), study=STUDY.study)
        for name in made.names:
            approve_peers(made.site(name), current_roster(made.server).roster.sites)
    play(made, protocol)
    _, findings = verify(handed(made, tmp_path), (keys(made, tmp_path),))
    assert said(findings, "refuted") == []
    confirmed = "\n".join(said(findings, "confirmed"))
    for what in ("cosign", "recomputed from what the sites sent", "approv", "ledger"):
        assert what in confirmed, confirmed


def test_a_bundle_of_the_server_holds_the_record_and_lists_every_file(tmp_path: Path) -> None:
    made = ward(tmp_path)
    play(made, STUDY)
    out = server_bundle(made.server, "asked", tmp_path / "bundle")
    manifest = json.loads((out / "manifest.json").read_bytes())
    assert (manifest["format"], manifest["kind"], manifest["study"]) == (
        "wardround-audit-bundle",
        "server",
        "asked",
    )
    found = {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    del found["manifest.json"]
    assert {name: {"bytes": len(data), "sha256": digest(data)} for name, data in found.items()} == manifest[
        "files"
    ]
    assert {name for name in found if not name.startswith("archive/")} == {
        "study.toml",
        "roster.json",
        "study-log.jsonl",
        "checkpoints.jsonl",
        "results.json",
        "model.safetensors",
    }
    assert sum(name.startswith("archive/") for name in found) == 3 * STUDY.federation.rounds


def test_a_bundle_of_a_site_holds_its_own_signed_words(tmp_path: Path) -> None:
    made = ward(tmp_path)
    play(made, STUDY)
    out = site_bundle(made.site("north"), "asked", tmp_path / "bundle")
    name, key = file_name("north"), made.office("north").key.public
    read_ledger(out / "ledgers" / f"{name}.jsonl", key)
    witness = read_statement((out / "witness" / f"{name}.json").read_bytes(), kind="witness", signer=key)
    lines = (made.server / "studies/asked/federation/study-log.jsonl").read_bytes().splitlines()
    seen = Seen(size=len(lines) - 1, root=Tree(lines[:-1]).root())
    run = run_of(made.server / "studies/asked/federation")
    assert witness.fields["logs"] == {run: seen.to_dict()}
    read_statement((out / "approvals" / f"{name}.json").read_bytes(), kind="approval", signer=key)
    assert {path.name for path in out.iterdir()} == {
        "manifest.json",
        "study.toml",
        "members",
        "ledgers",
        "approvals",
        "witness",
    }


def layers(data: bytes) -> Iterator[bytes]:
    """The bytes, and whatever stands in them as base64, at any depth."""
    yield data
    for found in re.findall(rb"[A-Za-z0-9+/]{40,}={0,2}", data):
        with contextlib.suppress(binascii.Error):
            yield from layers(base64.b64decode(found, validate=True))


def test_nothing_private_is_in_any_bundle(tmp_path: Path) -> None:
    made = ward(tmp_path)
    play(made, STUDY)
    markers = (PATIENT, CAP, str(tmp_path), "patients.csv", "PRIVATE KEY", "smallest_cohort", "epsilon_cap")
    for bundle in handed(made, tmp_path):
        for path in bundle.rglob("*"):
            assert path.suffix not in (".csv", ".npz", ".pem", ".toml") or path.name == "study.toml"
            assert path.name not in ("approval.json", "consortium.json")
            for text in layers(path.read_bytes()) if path.is_file() else ():
                assert [marker for marker in markers if marker.encode() in text] == [], path
    shown = next(layers((made.server / "studies/asked/federation/study-log.jsonl").read_bytes()))
    assert any(b"roster_version" in text for text in layers(shown))  # approvals were looked into


def test_a_site_that_hands_over_another_end_of_its_ledger_is_found_out(tmp_path: Path) -> None:
    made = ward(tmp_path)
    play(made, STUDY)
    bundles = handed(made, tmp_path)
    ledger = bundles[1] / "ledgers" / f"{file_name('north')}.jsonl"
    ledger.write_bytes(b"".join(ledger.read_bytes().splitlines(keepends=True)[:-3]))
    _, findings = verify(bundles, (keys(made, tmp_path),))
    assert said(findings, "refuted")


def test_without_an_archive_models_are_not_checkable_and_nothing_is_refuted(tmp_path: Path) -> None:
    made = ward(tmp_path)
    play(made, STUDY, archiving="none")
    _, findings = verify(handed(made, tmp_path), (keys(made, tmp_path),))
    assert said(findings, "refuted") == []
    assert any("recomputed from what the sites sent" in one for one in said(findings, "not checkable"))


def test_a_folder_that_exists_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(UsageError, match="exists already"):
        write_bundle(tmp_path / "out", {}, kind="site", study="s", protocol="0" * 64, by="north")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a//b", "manifest.json"])
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="plain relative name"):
        write_bundle(tmp_path / "out", {name: b"x"}, kind="site", study="s", protocol="0" * 64, by="north")


def test_a_file_that_cannot_be_read_leaves_no_half_bundle(tmp_path: Path) -> None:
    files: dict[str, Path | bytes] = {"a": b"1", "b": tmp_path / "missing"}
    with pytest.raises(StorageError, match="could not write the bundle"):
        write_bundle(tmp_path / "out", files, kind="site", study="s", protocol="0" * 64, by="north")
    assert list(tmp_path.iterdir()) == []


def test_a_study_that_never_began_has_no_bundle(tmp_path: Path) -> None:
    made = Consortium(tmp_path)
    made.publish(STUDY)
    with pytest.raises(StudyError, match="has not begun"):
        server_bundle(made.server, "asked", tmp_path / "out")
    with pytest.raises(UsageError, match="no study 'asked' was approved here"):
        site_bundle(made.site("north"), "asked", tmp_path / "out")


def test_the_commands_name_the_folder_that_they_made(tmp_path: Path) -> None:
    made = ward(tmp_path)
    play(made, STUDY)
    server, site = tmp_path / "a", tmp_path / "b"
    first = command("server", "bundle", made.server, "asked", "--out", server)
    second = command("site", "bundle", made.site("north"), "--study", "asked", "--out", site)
    assert (first.code, first.out) == (0, f"Bundle: {server}\n")
    assert (second.code, second.out) == (0, f"Bundle: {site}\n")
    assert (server / "manifest.json").exists()
    assert (site / "manifest.json").exists()
