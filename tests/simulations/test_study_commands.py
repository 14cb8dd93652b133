"""`wardround study`: from a table to a protocol, through the command line."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from wardround.cli import main
from wardround.client.policy import SitePolicy
from wardround.common.study.outcomes import BinaryOutcome, SurvivalOutcome
from wardround.common.study.reader import load
from wardround.simulations.observers import in_words
from wardround.simulations.privacy_words import stated
from wardround.simulations.study_facts import study_facts


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A small table with three hospitals, one of them called NA."""
    rng = np.random.default_rng(2)
    n = 120
    frame = pd.DataFrame(
        {
            "patient_id": [f"{number:05d}" for number in range(n)],
            "site": np.resize(["01", "02", "NA"], n),
            "age": rng.normal(60, 9, n).round(1),
            "marker": rng.normal(size=n).round(2),
            "response": rng.choice(["yes", "no"], n),
            "months": (rng.exponential(20, n) + 0.1).round(1),
            "status": rng.choice(["alive", "died of disease", "died otherwise"], n),
        }
    )
    path = tmp_path / "patients.csv"
    frame.to_csv(path, index=False)
    return path


def draft(table: Path, *options: str) -> tuple[int, Path]:
    """Run `study draft` beside the table."""
    out = table.with_name("study.toml")
    given = ["--table", str(table), "--site-column", "site", "--out", str(out), *options]
    return main(["study", "draft", *given]), out


def test_a_draft_of_a_response_study(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = draft(table, "--outcome", "response", "--exclude", "months", "status")
    assert code == 0
    protocol = load(out)
    assert protocol.study.name == "response"
    assert isinstance(protocol.outcome, BinaryOutcome)
    assert protocol.cohort.patient_column == "patient_id"
    assert [feature.name for feature in protocol.features] == ["age", "marker"]
    assert protocol.drafted
    assert f"Wrote {out}: 2 features" in capsys.readouterr().out


def test_a_draft_of_a_survival_study(table: Path) -> None:
    options = ["--time", "months", "--event", "status", "--unit", "months", "--name", "deaths"]
    code, out = draft(table, *options, "--positive", "died of disease", "--positive", "died otherwise")
    assert code == 0
    outcome = load(out).outcome
    assert isinstance(outcome, SurvivalOutcome)
    assert outcome.event_values == ("died of disease", "died otherwise")
    assert load(out).study.name == "deaths"


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--outcome", "response", "--time", "months"],
        ["--time", "months", "--event", "status"],
        ["--outcome", "responce"],
        ["--outcome", "response", "--patient-column", "pid"],
        ["--outcome", "response", "--exclude", "weight"],
        ["--outcome", "response", "--name", "a/b"],
    ],
)
def test_a_draft_that_cannot_be_meant_writes_nothing(
    table: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    code, out = draft(table, *options)
    assert code in (2, 3)
    assert not out.exists()
    assert "Error: " in capsys.readouterr().err


def test_a_protocol_is_never_written_over(table: Path) -> None:
    out = table.with_name("study.toml")
    out.write_text("mine")
    assert draft(table, "--outcome", "response")[0] == 2
    assert out.read_text() == "mine"


def test_a_table_without_a_patient_column_is_refused(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table.write_text(table.read_text().replace("patient_id", "number", 1))
    assert draft(table, "--outcome", "response")[0] == 2
    assert "--patient-column" in capsys.readouterr().err


def test_check_says_what_a_study_is_and_what_it_costs(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = draft(table, "--outcome", "response", "--exclude", "months", "status")[1]
    capsys.readouterr()
    assert main(["study", "check", str(out)]) == 0
    text = capsys.readouterr().out
    assert load(out).digest in text
    assert "2 (2 clinical), 2 inputs" in text
    assert "linear, 3 parameters" in text
    assert "epsilon 2.9999 (one patient replaced: 6.7058)" in text
    assert "delta 1e-05" in text
    assert "Warning:   constants of 2 features, outcome, privacy were drafted" in text


def test_check_as_json_holds_the_same_numbers(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = draft(table, "--outcome", "response", "--exclude", "months", "status")[1]
    capsys.readouterr()
    assert main(["study", "check", str(out), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["digest"] == load(out).digest
    assert found["epsilon_planned"] == {"add-or-remove": 2.9999, "replace-one": 6.7058}
    assert found["drafted"] is True
    assert len(found["warnings"]) == 2 + (found["noise_norm"] > 1)


@pytest.mark.parametrize(("mechanism", "honest"), [("joint-noise", 2), ("site-noise", 0), ("none", 0)])
def test_a_draft_takes_the_mechanism_that_was_asked_for(table: Path, mechanism: str, honest: int) -> None:
    code, out = draft(table, "--outcome", "response", "--mechanism", mechanism)
    assert code == 0
    protocol = load(out)
    assert (protocol.privacy.mechanism, protocol.privacy.honest_sites) == (mechanism, honest)
    assert protocol.drafted


def test_check_of_joint_noise_names_every_coalition(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = draft(table, "--outcome", "response", "--mechanism", "joint-noise")[1]
    capsys.readouterr()
    assert main(["study", "check", str(out)]) == 0
    text = capsys.readouterr().out
    assert "epsilon 2.9999 (one patient replaced: 6.7058), if every round needs one attempt" in text
    assert "hold while at least 2 of 3 sites are honest" in text
    facts = study_facts(load(out), None)
    for each in facts.observers:
        words = in_words(each.observer, honest=2, sites=3)
        added = f"{stated(each.planned['add-or-remove'])} / {stated(each.worst['add-or-remove'])}"
        replaced = f"{stated(each.planned['replace-one'])} / {stated(each.worst['replace-one'])}"
        assert f"- {words}: {added} ({replaced})" in text
    assert text.count(", as above") == 1
    assert main(["study", "check", str(out), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [each["observer"] for each in found["observers"]] == [each.observer for each in facts.observers]
    assert (
        found["observers"][3]["epsilon_worst"]["add-or-remove"] == facts.observers[3].worst["add-or-remove"]
    )


def test_check_of_an_unprotected_study_says_so(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = draft(table, "--outcome", "response")[1]
    noise = load(out).privacy.noise_multiplier
    text = out.read_text().replace('"site-noise"', '"none"').replace(f"{noise}", "0.0")
    out.write_text(text)
    capsys.readouterr()
    assert main(["study", "check", str(out)]) == 0
    assert "Privacy:   none: epsilon is infinite" in capsys.readouterr().out


def test_check_of_a_broken_protocol_names_the_key(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = draft(table, "--outcome", "response")[1]
    out.write_text(out.read_text().replace("rounds =", "runds ="))
    capsys.readouterr()
    assert main(["study", "check", str(out)]) == 3
    shown = capsys.readouterr()
    assert "[federation] unknown key 'runds'" in shown.err
    assert "did you mean 'rounds'?" in shown.err
    assert shown.out == ""


def test_explain_prints_one_key_or_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "explain", "privacy.delta"]) == 0
    assert capsys.readouterr().out.startswith("privacy.delta\n  The lifetime delta")
    assert main(["study", "explain"]) == 0
    assert "federation.rounds\n" in capsys.readouterr().out
    assert main(["study", "explain", "privacy.detla"]) == 2


def test_split_writes_one_folder_per_hospital(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "sites"
    given = ["--table", str(table), "--site-column", "site", "--out", str(out), "--cohort", "synthetic"]
    assert main(["study", "split", *given, "--epsilon-cap", "5"]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["01", "02", "NA"]
    assert SitePolicy.load(out / "NA" / "site.toml").epsilon_cap == 5.0
    assert main(["study", "split", *given]) == 9
