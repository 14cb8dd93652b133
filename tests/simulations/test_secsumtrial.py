"""A lying coordinator gets nothing from the installed hospital; a hospital that went along would be named."""

import json
from functools import cache
from pathlib import Path

import pytest

from wardround import cli
from wardround.simulations.conformancepatients import WITHOUT, tables
from wardround.simulations.conformancesite import Grounds
from wardround.simulations.secsumlies import LIES, Liar
from wardround.simulations.secsumtrial import Trial, in_words, secagg, tried

REASONS = {
    "swapped-key": "signature",
    "invented-member": "not among the sites that this site approved",
    "coordinator-joins": "not among the sites that this site approved",
    "short-roster": "at least 3 members in the roster, found 2",
    "member-twice": "several of 'peer-1'",
    "without-itself": "this site's own message among all",
    "replayed-keys": "expected round",
    "another-model-for-others": "expected base_model",
    "keys-of-another-run": "expected run",
    "second-roster": "a second roster",
    "two-rosters": "is about another roster",
    "false-dropout": "found nothing from 'peer-2'",
    "another-model-in-the-task": "the base model is not the one that the envelope names",
    "without-roster": "roster",
    "never-opened": "no secure sum is open",
    "beyond-the-reservation": "an attempt of 1 to 1",
}


@cache
def trials() -> dict[str, Trial]:
    return {trial.name: trial for trial in secagg()}


@pytest.mark.parametrize("name", LIES)
def test_a_lie_is_declined_for_its_own_reason_and_costs_nothing(name: str) -> None:
    assert trials()[name].holds, trials()[name]
    assert REASONS[name] in trials()[name].said


@pytest.mark.parametrize(
    "name",
    [
        "one charge",
        "uniform bytes",
        "never masked again",
        "another run",
        "transcript",
        "altered upload",
        "missing upload",
    ],
)
def test_an_honest_attempt_is_what_was_promised(name: str) -> None:
    assert trials()[name].holds, trials()[name]


def test_a_hospital_that_goes_along_is_named(tmp_path: Path) -> None:
    liar = Liar(Grounds(tmp_path, {WITHOUT: tables()[WITHOUT]}))
    found = tried("open", lambda liar, round_: liar.open(round_), liar, 1)
    assert (found.holds, found.said) == (False, "the hospital went along")
    assert "FAILED open: the hospital went along" in in_words([found])


def test_the_command_says_what_was_tried(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["audit", "secagg", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["holds"] is True
    assert {trial["name"] for trial in found["trials"]} == set(trials())
