"""What an audit says of an honest study, of keys, of what is missing, and of files that are no bundle."""

import json
import random
import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest
from tests.auditing import NAMES, Record, base_install, finished, judged, ledger_of, refuted, with_manifest
from tests.lies import false_result
from tests.studies import joint_protocol, private_protocol, small_protocol

from wardround.cli import main
from wardround.common.audit.bundling import file_name
from wardround.common.audit.keys import read_keys
from wardround.common.audit.verdicts import Finding
from wardround.common.errors import StorageError, TrustError
from wardround.common.trust.identity import SigningKey
from wardround.common.trust.statement import APPROVAL, read_statement, sign_statement

SIGNED = "every line of the log is signed by the coordinator and follows the line before it"
OWN = "the record was written by the parties whose keys you hold"
MODELS = "the model of each round is recomputed from what the sites sent"
AGREES = "ledger and log know the same charges"
CLAIMED = "the stated epsilon of the study is that of its releases"


@cache
def record(mechanism: str) -> Record:
    """An honest record, made once per process."""
    joint = joint_protocol(rounds=2)
    protocols = {
        "joint": joint,
        "site": private_protocol(rounds=2),
        "none": small_protocol(rounds=2),
        "statistics": replace(joint, federation=replace(joint.federation, first_round="statistics")),
        "averaged": joint_protocol(rounds=3, average_last=2),
    }
    return finished(Path(mkdtemp(prefix=f"audit-{mechanism}-")), protocols[mechanism])


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return record("joint").hand_over(tmp_path / "bundle")


def verdicts(findings: list[Finding], claim: str) -> dict[str, str]:
    """Where -> verdict, of one claim."""
    return {one.where: one.verdict for one in findings if one.claim == claim}


@pytest.mark.parametrize("mechanism", ["joint", "site", "statistics", "averaged"])
def test_every_model_of_an_honest_study_is_recomputed(mechanism: str, tmp_path: Path) -> None:
    findings = judged(record(mechanism).hand_over(tmp_path / "bundle"))
    assert [one for one in findings if one.verdict == "refuted"] == []
    assert list(verdicts(findings, MODELS).values()) == ["confirmed"]
    released = "the released model is the one that the study ended with"
    assert list(verdicts(findings, released).values()) == ["confirmed"]


def test_the_claim_is_stated_per_site_and_coalition_and_confirmed(bundle: Path) -> None:
    findings = judged(bundle)
    assert verdicts(findings, CLAIMED) == dict.fromkeys(NAMES, "confirmed")
    shown = next(one.found for one in findings if one.claim == CLAIMED)
    assert "against the coordinator and all other hospitals together" in shown
    assert "2 honest ones (the claim)" in shown


def test_a_study_without_privacy_has_no_epsilon_and_no_archive(tmp_path: Path) -> None:
    findings = judged(record("none").hand_over(tmp_path / "bundle"))
    assert [one for one in findings if one.verdict == "refuted"] == []
    assert list(verdicts(findings, MODELS).values()) == ["not checkable"]
    assert next(one.found for one in findings if one.claim == CLAIMED).endswith("together")
    assert not any("noise was added" in one.claim for one in findings)


def test_what_only_a_site_can_know_is_never_confirmed(bundle: Path) -> None:
    kinds = {one.claim: one.verdict for one in judged(bundle)}
    assert (
        kinds["noise was added, drawn fresh from the operating system's randomness"] == "attested by the site"
    )
    assert kinds["the site runs the code that its approval names"] == "attested by the site"
    assert kinds["the hospital's own caps were kept"] == "not checkable"
    assert kinds["no data left outside the study"] == "not checkable"


def test_without_the_archive_and_the_ledgers_less_is_checkable_and_nothing_refuted(tmp_path: Path) -> None:
    bare = record("joint")
    for name in [name for name in bare.files if name.startswith(("archive/", "ledgers/"))]:
        bare = bare.with_file(name, None)
    findings = judged(bare.hand_over(tmp_path / "bundle"))
    assert [one for one in findings if one.verdict == "refuted"] == []
    assert list(verdicts(findings, MODELS).values()) == ["not checkable"]
    assert verdicts(findings, AGREES) == dict.fromkeys(NAMES, "not checkable")


def test_a_hospitals_own_bundle_is_laid_over_the_servers(tmp_path: Path) -> None:
    whole = record("joint")
    own = whole.files[ledger_of("north")]
    server = whole.with_file(ledger_of("north"), None).hand_over(tmp_path / "server")
    site = tmp_path / "north"
    (site / "ledgers").mkdir(parents=True)
    (site / ledger_of("north")).write_bytes(own)
    shutil.copy(server / "study-log.jsonl", site)
    with_manifest(site, whole.protocol)
    assert main(["audit", "verify", str(server), str(site)]) == 0
    (site / "study-log.jsonl").write_bytes((server / "study-log.jsonl").read_bytes()[:-1] + b" ")
    with_manifest(site, whole.protocol)
    assert main(["audit", "verify", str(server), str(site)]) == 10


def key_files(folder: Path, keys: dict[str, SigningKey]) -> list[Path]:
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{name}.pem" for name in keys]
    for path, key in zip(paths, keys.values(), strict=True):
        path.write_bytes(key.public.pem())
    return paths


def test_keys_that_an_auditor_brings_confirm_who_signed(bundle: Path, tmp_path: Path) -> None:
    roster = tmp_path / "roster.json"
    shutil.copy(bundle / "roster.json", roster)
    assert set(verdicts(judged(bundle, roster), OWN).values()) == {"confirmed"}
    (north,) = key_files(tmp_path / "keys", {"north": record("joint").keys["north"]})
    found = verdicts(judged(bundle, north), OWN)
    assert found["north"] == "confirmed"
    assert found["coordinator"] == found["south"] == "not checkable"


def test_keys_from_the_bundle_itself_prove_nobodys_identity(bundle: Path) -> None:
    assert list(verdicts(judged(bundle), OWN).values()) == ["not checkable"]
    assert list(verdicts(judged(bundle, bundle / "roster.json"), OWN).values()) == ["not checkable"]


@pytest.mark.parametrize("name", ["coordinator", "south"])
def test_a_record_of_somebody_else_is_refuted_by_the_auditors_own_key(
    bundle: Path, tmp_path: Path, name: str
) -> None:
    (stranger,) = key_files(tmp_path / "keys", {name: SigningKey.generate()})
    findings = judged(bundle, stranger)
    assert any(one.verdict == "refuted" for one in findings)
    assert (
        SIGNED in {one.claim for one in findings if one.verdict == "refuted"}
        or verdicts(findings, OWN)[name] == "refuted"
    )


def test_a_key_file_that_holds_no_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="could not read"):
        read_keys((tmp_path / "none.pem",))
    (tmp_path / "north.pem").write_bytes(b"-----BEGIN PUBLIC KEY-----\nno\n-----END PUBLIC KEY-----\n")
    with pytest.raises(TrustError, match="Ed25519 public key"):
        read_keys((tmp_path / "north.pem",))


def test_of_a_party_that_changed_its_key_both_may_be_brought(tmp_path: Path) -> None:
    old, new = SigningKey.generate(), SigningKey.generate()
    paths = [
        key_files(tmp_path / place, {"east": key})[0] for place, key in (("a", old), ("b", new), ("c", old))
    ]
    assert read_keys((paths[0], paths[1])).keys == {"east": (old.public, new.public)}
    assert read_keys(tuple(paths)).newest == {"east": old.public}


def test_a_private_key_is_refused_and_not_read(tmp_path: Path) -> None:
    SigningKey.generate().save(tmp_path / "north.pem")
    with pytest.raises(TrustError, match="public key"):
        read_keys((tmp_path / "north.pem",))


def test_a_result_that_no_update_led_to_is_refuted_in_its_round(tmp_path: Path) -> None:
    lied = false_result(record("averaged"), random.Random(1))  # noqa: S311
    assert "the log says" in refuted(lied.hand_over(tmp_path / "bundle"))[MODELS]


def test_a_broken_log_ends_in_one_refuted_claim_and_no_confirmed_one(tmp_path: Path) -> None:
    bundle = record("joint").hand_over(tmp_path / "bundle")
    log = bundle / "study-log.jsonl"
    log.write_bytes(log.read_bytes().replace(b'"sig":"', b'"sig":"A', 1))
    with_manifest(bundle, record("joint").protocol)
    findings = judged(bundle)
    assert list(refuted(bundle)) == [SIGNED]
    assert [one.claim for one in findings if one.verdict == "confirmed"] == [
        "the bundle holds the files that its manifest lists, unchanged, and no others"
    ]


def test_a_folder_that_is_no_bundle_is_an_error_not_a_verdict(tmp_path: Path) -> None:
    assert main(["audit", "verify", str(tmp_path)]) == 9
    assert main(["audit", "verify", str(tmp_path / "none")]) == 9


def test_a_file_that_the_manifest_does_not_list_or_lists_otherwise_is_refuted(bundle: Path) -> None:
    (bundle / "notes.txt").write_bytes(b"")
    assert "a file that is not listed" in refuted(bundle).values()
    (bundle / "notes.txt").unlink()
    (bundle / "results.json").write_bytes((bundle / "results.json").read_bytes() + b" ")
    assert "another content" in refuted(bundle).values()


def test_an_approval_that_a_hospital_hands_over_must_be_that_of_the_log(tmp_path: Path) -> None:
    name, key = f"approvals/{file_name('north')}.json", record("joint").keys["north"]
    own = read_statement(record("joint").files[name], kind=APPROVAL, signer=key.public).fields
    other = sign_statement(key, APPROVAL, {**own, "releases": 1})
    found = refuted(record("joint").with_file(name, other).hand_over(tmp_path / "bundle"))
    assert found == {"the approval that the hospital itself handed over is the one in the log": "another one"}
    strange = record("joint").with_file(name, b"{}").hand_over(tmp_path / "bundle")
    assert "no site's approval" in refuted(strange).values()


def test_a_link_out_of_the_bundle_is_not_followed(bundle: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    shutil.move(bundle / "results.json", secret)
    (bundle / "results.json").symlink_to(secret)
    assert "no such file" in refuted(bundle).values()


def test_the_whole_audit_runs_without_torch_flower_and_pandas(bundle: Path, tmp_path: Path) -> None:
    done = base_install("audit", "verify", str(bundle), "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["counts"]["refuted"] == 0
    assert found["counts"]["confirmed"] > 20
    page = base_install("audit", "report", str(bundle), "--out", str(tmp_path / "report.html"))
    assert page.code == 0, page.err
