"""`wardround site`: what a person at a hospital types and reads."""

import json
import os
import stat
from pathlib import Path

import pandas as pd
import pytest
from tests.hospital import SURVIVAL, changed, gives_away, hospital, only, study

from wardround.cli import main
from wardround.client.policy import SitePolicy
from wardround.common.privacy.accounting import epsilon
from wardround.common.privacy.events import GaussianSteps
from wardround.common.privacy.terms import PrivacyTerms
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.reader import dumps
from wardround.common.trust.identity import SigningKey
from wardround.common.trust.ledger import Ledger

NOISE = PrivacyTerms(mechanism="site-noise", noise_multiplier=10.0)


def folder_with(tmp_path: Path, frame: pd.DataFrame, protocol: StudyProtocol) -> tuple[str, str]:
    (tmp_path / "study.toml").write_text(dumps(protocol), encoding="utf-8")
    frame.to_csv(tmp_path / "t.csv", index=False)
    return str(tmp_path / "study.toml"), str(tmp_path / "t.csv")


def init(tmp_path: Path, *more: str) -> Path:
    home = tmp_path / "north"
    words = ["site", "init", str(home), "--name", "north", "--table", str(tmp_path / "t.csv"), *more]
    assert main(words) == 0
    return home


def test_a_table_that_fits_ends_with_fit_and_code_0(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, protocol = only(hospital()), study()
    words = folder_with(tmp_path, table, protocol)
    assert main(["site", "check", words[0], "--table", words[1]]) == 0
    text = capsys.readouterr().out
    assert text.rstrip().endswith(": fit")
    assert "glucose" in text
    assert gives_away(text, table) == []


def test_a_table_that_does_not_fit_ends_with_that_and_code_4(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = changed("months", lambda value: value * 30.4375, only(hospital(), SURVIVAL))
    words = folder_with(tmp_path, table, study(SURVIVAL))
    assert main(["site", "check", words[0], "--table", words[1]]) == 4
    text = capsys.readouterr().out
    assert text.rstrip().endswith("does not fit")
    assert "nearly all would fit if the column is in days" in text
    assert gives_away(text, table) == []


def test_the_json_report_is_one_json_value(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = folder_with(tmp_path, only(hospital(12)), study())
    assert main(["site", "check", words[0], "--table", words[1], "--json"]) == 4
    report = json.loads(capsys.readouterr().out)
    assert report["fits"] is False
    assert [finding["code"] for finding in report["findings"]] == ["few-patients"]
    assert {column["name"] for column in report["columns"]} >= {"age", "patient", "response"}


def test_one_hospital_of_a_table_or_all_of_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = only(hospital(90)).assign(tss=["NA"] * 50 + ["05"] * 30 + ["3B"] * 10)
    study_path, table_path = folder_with(tmp_path, table, study())
    asked = ["site", "check", study_path, "--table", table_path]
    assert main([*asked, "--site-column", "tss"]) == 0
    assert "1 of 3 sites are left out" in capsys.readouterr().out
    assert main([*asked, "--site-column", "tss", "--site", "NA"]) == 0
    assert main([*asked, "--site-column", "tss", "--site", "05"]) == 0
    assert main([*asked, "--site-column", "tss", "--site", "3B"]) == 4
    assert main([*asked, "--site-column", "tss", "--site", "5"]) == 2
    assert main([*asked, "--site", "NA"]) == 2
    assert main([*asked, "--site-column", "hospital"]) == 4
    assert "'hospital'" in capsys.readouterr().err


def test_a_file_that_cannot_be_read_is_an_error_on_the_error_stream(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = folder_with(tmp_path, only(hospital()), study())
    assert main(["site", "check", words[0], "--table", str(tmp_path / "none.csv")]) == 4
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "there is no table" in captured.err


def test_init_writes_a_policy_that_loads_and_a_key_that_only_the_owner_reads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder_with(tmp_path, only(hospital()), study())
    home = init(tmp_path, "--epsilon-cap", "2.5", "--smallest-cohort", "40")
    policy = SitePolicy.load(home / "site.toml")
    assert policy.table.resolve() == (tmp_path / "t.csv").resolve()
    assert (policy.epsilon_cap, policy.smallest_cohort, policy.cohort) == (2.5, 40, "private")
    assert policy.mechanisms == ("site-noise", "joint-noise")
    for path in (home / "site.toml", policy.identity):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert SigningKey.load(policy.identity).public.fingerprint in capsys.readouterr().out


def test_init_never_overwrites_a_policy_and_leaves_nothing_behind_on_refusal(tmp_path: Path) -> None:
    folder_with(tmp_path, only(hospital()), study())
    home = init(tmp_path)
    before = (home / "site.toml").read_bytes()
    assert main(["site", "init", str(home), "--name", "south", "--table", "x.csv"]) == 2
    assert (home / "site.toml").read_bytes() == before
    bad = ["site", "init", str(tmp_path / "bad"), "--name", "b", "--table", "x.csv", "--delta", "0.9"]
    assert main(bad) == 3
    assert os.listdir(tmp_path / "bad") == []


def test_check_with_a_policy_uses_its_table_columns_and_minimum(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = only(hospital()).rename(columns={"age": "AGE_AT_DX"})
    study_path, _ = folder_with(tmp_path, table, study(privacy=NOISE))
    home = init(tmp_path, "--smallest-cohort", "60")
    policy = home / "site.toml"
    asked = ["site", "check", study_path, "--policy", str(policy)]
    assert main(asked) == 4
    assert "did you mean 'AGE_AT_DX'" in capsys.readouterr().out
    text = policy.read_text()
    policy.write_text(text.replace("[columns]", '[columns]\nage = "AGE_AT_DX"'))
    assert main(asked) == 0
    policy.write_text(policy.read_text().replace("smallest_cohort = 60", "smallest_cohort = 61"))
    assert main(asked) == 4


def test_check_with_a_policy_says_what_the_policy_refuses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study_path, _ = folder_with(tmp_path, only(hospital()), study())
    home = init(tmp_path)
    assert main(["site", "check", study_path, "--policy", str(home / "site.toml")]) == 5
    assert "PolicyRefusal" in capsys.readouterr().err


def test_the_ledger_of_a_new_site_is_empty_and_asking_creates_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder_with(tmp_path, only(hospital()), study())
    home = init(tmp_path)
    assert main(["site", "ledger", str(home)]) == 0
    assert "left: 3.0000" in capsys.readouterr().out
    made = ["identity.pem", "node.key", "node.pub", "request.json", "site.toml"]
    assert sorted(os.listdir(home)) == made


def test_the_ledger_says_what_was_spent_reserved_and_is_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder_with(tmp_path, only(hospital()), study())
    home = init(tmp_path)
    policy = SitePolicy.load(home / "site.toml")
    event = GaussianSteps(noise_multiplier=10.0, sample_rate=1.0, steps=1)
    with Ledger.open(
        policy.ledger, SigningKey.load(policy.identity), policy.head, pool=policy.pool
    ) as ledger:
        ledger.reserve("first", "a" * 64, event, 9)
        ledger.spend("first", "a" * 64, 1, 1, "b" * 64)
        ledger.spend("first", "a" * 64, 1, 2, "b" * 64)
    capsys.readouterr()
    assert main(["site", "ledger", str(home), "--json"]) == 0
    account = json.loads(capsys.readouterr().out)
    spent = epsilon([event] * 2, 1e-5)
    assert account["studies"] == [
        {
            "name": "first",
            "releases": 2,
            "epsilon": spent,
            "epsilon_everyone_else": spent,
            "tables": 0,
            "tables_epsilon": 0.0,
            "tables_epsilon_everyone_else": 0.0,
        }
    ]
    assert account["spent"] == epsilon([event] * 2, 1e-5)
    assert account["exposure"] == epsilon([event] * 9, 1e-5)
    assert account["remaining"] == pytest.approx(3.0 - account["exposure"])
    assert main(["site", "ledger", str(home)]) == 0
    text = capsys.readouterr().out
    assert "at delta 1e-05" in text
    assert f"epsilon {account['exposure']:.4f}" in text


def test_a_lost_ledger_is_not_an_empty_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder_with(tmp_path, only(hospital()), study())
    home = init(tmp_path)
    policy = SitePolicy.load(home / "site.toml")
    key = SigningKey.load(policy.identity)
    with Ledger.open(policy.ledger, key, policy.head, pool=policy.pool) as ledger:
        ledger.reserve("first", "a" * 64, GaussianSteps(noise_multiplier=10.0, sample_rate=1.0, steps=1), 1)
    (policy.ledger / "ledger.jsonl").unlink()
    assert main(["site", "ledger", str(home)]) == 6
    assert "TrustError" in capsys.readouterr().err
