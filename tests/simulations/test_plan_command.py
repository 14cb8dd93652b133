"""`wardround study plan`: numbers that are never rounded down, files that are never written over in silence."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.runs import command, new_folder

from wardround.common.privacy.accounting import epsilon
from wardround.common.privacy.coalitions import joint_epsilons
from wardround.common.privacy.events import JointGaussianSteps, times
from wardround.common.privacy.terms import LARGEST_SUM, PrivacyTerms
from wardround.common.study.outcomes import BinaryOutcome
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.reader import load
from wardround.common.study.schema import Feature
from wardround.common.study.terms import CohortTerms, FederationTerms, SiteTerms, StudyTerms
from wardround.common.study.writer import dumps
from wardround.simulations.plan_command import up

NAMES = ("Alder", "Birch", "Cedar", "Dogwood", "Elm")


def written(**change: Any) -> Path:
    """A study of five listed sites in a folder of its own."""
    terms: dict[str, Any] = {
        "study": StudyTerms(name="one", question="q", purpose="p"),
        "outcome": BinaryOutcome(column="y", positive=("1",), negative=("0",), source="s"),
        "features": (Feature(name="age", kind="continuous", low=0, high=120, source="s"),),
        "cohort": CohortTerms(patient_column="pid"),
        "privacy": PrivacyTerms(mechanism="site-noise", noise_multiplier=9.0, source="s"),
        "federation": FederationTerms(
            rounds=20, attempts=3, sites=tuple(SiteTerms(name=name, reference_patients=100) for name in NAMES)
        ),
    }
    path = new_folder() / "study.toml"
    path.write_text(dumps(StudyProtocol(**{**terms, **change})), encoding="utf-8")
    return path


def row_of(text: str, mechanism: str) -> list[str]:
    """The numbers of the first row below a mechanism's title."""
    lines = text.splitlines()
    start = next(place for place, line in enumerate(lines) if line.startswith(f"{mechanism}:"))
    return re.split(r"\s{2,}", lines[start + 2].strip())


def test_the_table_holds_every_coalition_planned_and_at_most() -> None:
    said = command("study", "plan", written(), "--honest", 3, "--noise", 25)
    assert said.code == 0, said.err
    event = JointGaussianSteps(noise_multiplier=25.0, honest=3, coordinates=LARGEST_SUM, steps=20)
    planned = joint_epsilons(event, sites=5, delta=1e-5)
    (worst_event,) = times(event, 3)
    worst = joint_epsilons(worst_event, sites=5, delta=1e-5)  # type: ignore[arg-type]
    replaced = joint_epsilons(worst_event, sites=5, delta=1e-5, relation="replace-one")  # type: ignore[arg-type]
    cells = [
        f"{up(getattr(planned, name))} / {up(getattr(worst, name))}"
        for name in ("server", "participant", "tolerated", "everyone_else")
    ]
    row = row_of(said.out, "joint-noise")
    assert row[:7] == ["20", "25.000", *cells, up(replaced.tolerated)]
    heads = "the server   and one site   and 2 sites*  and all other sites  one replaced*"
    assert heads.split() == said.out.splitlines()[5].split()[2:-2]


def test_no_shown_epsilon_is_below_the_claim() -> None:
    study = written()
    found = json.loads(command("study", "plan", study, "--json").out)
    said = command("study", "plan", study).out
    for option in found["options"]:
        exact = [row[name] for row in option["epsilon"] for name in ("spent", "reserved")]
        shown = re.findall(r"[\d.]+", " ".join(cells_of(said, option)))
        assert [float(text) >= value for text, value in zip(shown, exact, strict=True)] == [True] * len(exact)
        assert all(float(text) - value < 0.001 for text, value in zip(shown, exact, strict=True))


def cells_of(text: str, option: dict[str, Any]) -> list[str]:
    part = text[text.index(f"\n{option['mechanism']}:") :]
    noise = f"{option['noise_multiplier']:.3f}"
    line = next(line for line in part.splitlines() if noise in line)
    return [cell for cell in re.split(r"\s{2,}", line.strip()) if "/" in cell]


def test_json_names_the_claim_the_target_and_the_noise() -> None:
    found = json.loads(command("study", "plan", written(), "--json", "--epsilon", 1).out)
    assert found["patients"] == dict.fromkeys(NAMES, 100)
    joint, own = found["options"]
    assert (joint["mechanism"], joint["honest_sites"], joint["target"]) == ("joint-noise", 4, 1.0)
    assert (own["mechanism"], own["honest_sites"]) == ("site-noise", None)
    assert max(row["reserved"] for row in joint["epsilon"] if row["shares"] >= 4) <= 1.0
    assert [row["shares"] for row in joint["epsilon"]] == [5, 4, 1]
    assert joint["noise"][-1]["name"] == "all sites together"


def test_a_warning_where_noise_exceeds_signal_and_none_where_it_does_not() -> None:
    assert "Warning:" not in command("study", "plan", written(), "--epsilon", 8).out
    said = command("study", "plan", written(), "--epsilon", 0.005, "--mechanism", "joint-noise").out
    assert "Warning: joint-noise, epsilon 0.005: Over the whole study the noise is" in said


def test_one_option_can_be_written_beside_the_study() -> None:
    study = written()
    out = study.with_name("joint.toml")
    wish = ("--mechanism", "joint-noise", "--epsilon", 1, "--rounds", 40)
    said = command("study", "plan", study, *wish, "--out", out)
    assert said.code == 0, said.err
    after = load(out)
    assert (after.privacy.mechanism, after.privacy.honest_sites, after.federation.rounds) == (
        "joint-noise",
        4,
        40,
    )
    assert epsilon(times(after.event(), 120), 1e-5) <= 1.0
    assert f"Wrote {out}, digest {after.digest}" in said.err
    assert command("study", "check", out).code == 0


def test_nothing_is_written_over_in_silence() -> None:
    study = written()
    out = study.with_name("mine.toml")
    out.write_text("mine")
    said = command("study", "plan", study, "--mechanism", "joint-noise", "--epsilon", 1, "--out", out)
    assert said.code == 2
    assert "exists already" in said.err
    assert out.read_text() == "mine"


def test_writing_into_the_study_keeps_the_study_as_it_was() -> None:
    study = written()
    before, text = load(study), study.read_bytes()
    said = command("study", "plan", study, "--mechanism", "joint-noise", "--epsilon", 1, "--write")
    assert said.code == 0, said.err
    kept = study.with_name(f"study.{before.digest[:8]}.toml")
    assert kept.read_bytes() == text
    assert str(kept) in said.err
    assert load(study).joint


def test_another_file_under_the_name_of_the_copy_stops_the_writing() -> None:
    study = written()
    text = study.read_bytes()
    kept = study.with_name(f"study.{load(study).digest[:8]}.toml")
    kept.write_text("mine")
    said = command("study", "plan", study, "--mechanism", "site-noise", "--epsilon", 1, "--write")
    assert said.code == 2
    assert (kept.read_text(), study.read_bytes()) == ("mine", text)


@pytest.mark.parametrize("more", [("--epsilon", 1), ("--mechanism", "site-noise"), ("--honest", 3, 4)])
def test_a_choice_must_be_one(more: tuple[object, ...]) -> None:
    study = written()
    out = study.with_name("out.toml")
    said = command("study", "plan", study, *more, "--out", out)
    assert said.code == 2
    assert "expected one option to write" in said.err
    assert not out.exists()


def test_loadings_that_would_not_be_found_are_not_left_behind() -> None:
    from wardround.common.formats import digest
    from wardround.common.study.terms import InputTerms

    loadings = b"feature,PC1\nage,1.0\n"
    study = written(inputs=InputTerms(loadings="l.csv", loadings_sha256=digest(loadings)))
    study.with_name("l.csv").write_bytes(loadings)
    elsewhere = new_folder() / "out.toml"
    choice = ("--mechanism", "joint-noise", "--epsilon", 1)
    said = command("study", "plan", study, *choice, "--out", elsewhere)
    assert said.code == 2
    assert "l.csv" in said.err
    assert command("study", "plan", study, *choice, "--out", study.with_name("o.toml")).code == 0


def test_what_cannot_be_done_says_what_to_do() -> None:
    alone = written(federation=FederationTerms(rounds=5))
    said = command("study", "plan", alone)
    assert (said.code, said.out) == (2, "")
    assert "--sites K" in said.err
    assert command("study", "plan", alone, "--sites", 4).code == 0
