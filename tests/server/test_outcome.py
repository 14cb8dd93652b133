"""What a real study says of itself: from its signed log alone, never too little privacy spent, and no patient."""

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from tests.consortia import JOINT, NOISE, asked

from wardround.common.privacy.accounting import second_opinion
from wardround.common.privacy.coalitions import EVERYBODY
from wardround.common.privacy.terms import PrivacyTerms
from wardround.common.study.protocol import StudyProtocol
from wardround.common.trust.identity import Roster, SigningKey
from wardround.common.trust.studylog import StudyLog, read_own_log
from wardround.server.outcome import StudyOutcome, epsilons, outcome_of
from wardround.server.studyreport import page

KEY = SigningKey.generate()
SITES = ("north", "south", "west")
ROSTER = Roster(
    coordinator="hub",
    coordinator_key=KEY.public,
    sites={name: SigningKey.generate().public for name in SITES},
)
COUNTED: Mapping[str, object] = {"update": "0" * 64}
NOT_ASKED = {"refused": "not asked: it was not there"}
DECLINED = {"refused": "declined"}


def outcome(
    tmp_path: Path, protocol: StudyProtocol, *attempts: tuple[str, Mapping[str, object]]
) -> StudyOutcome:
    """The outcome of a log with these attempts: kind, and what each site did in the order of `SITES`."""
    log = StudyLog(tmp_path / "log.jsonl", KEY)
    log.append("protocol", {"digest": protocol.digest})
    for number, (kind, said) in enumerate(attempts, start=1):
        log.append(kind, {"round": number, "attempt": 1, "sites": said})
    log.append("finish", {"model": "ab" * 32, "confirmed": ["north", "west"]})
    return outcome_of(protocol, ROSTER, read_own_log(tmp_path / "log.jsonl", KEY.public))


def said(*words: Mapping[str, object]) -> Mapping[str, object]:
    return dict(zip(SITES, words, strict=True))


def test_every_attempt_that_a_site_was_asked_in_is_counted_as_a_release(tmp_path: Path) -> None:
    found = outcome(
        tmp_path,
        asked(),
        ("round", said(COUNTED, COUNTED, NOT_ASKED)),
        ("void", said(COUNTED, DECLINED, {"refused": "no reply"})),
        ("round", said(COUNTED, {"refused": "no reply"}, COUNTED)),
    )
    assert (found.rounds, found.void) == (2, 1)
    assert [(one.counted, one.asked, one.confirmed) for one in found.sites] == [
        (2, 3, True),
        (1, 3, False),
        (1, 2, True),
    ]
    assert "`wardround site revoke DIR STUDY` there frees it" in page(found)  # south did not confirm the end
    assert found.sites[0].epsilon[EVERYBODY] > found.sites[2].epsilon[EVERYBODY] > 0


@pytest.mark.parametrize("releases", [1, 7, 60])
def test_epsilon_agrees_with_a_second_accountant(releases: int) -> None:
    protocol = asked(privacy=NOISE)
    (claim,) = epsilons(protocol, releases, fewest=3).values()
    other = second_opinion([protocol.event()] * releases, protocol.privacy.delta)
    assert other - 1e-4 <= claim <= other + 2e-3


def test_joint_noise_is_stated_against_four_observers_of_whom_more_learn_more() -> None:
    protocol = asked(privacy=JOINT, attempts=1)
    found = epsilons(protocol, 3, fewest=3)
    values = list(found.values())
    assert values == sorted(values)
    assert len(values) == 4
    (claim,) = (value for name, value in found.items() if "2 honest ones (the claim)" in name)
    assert claim == pytest.approx(second_opinion([protocol.event()] * 3, protocol.privacy.delta), abs=2e-3)


def test_without_privacy_epsilon_is_infinite_and_null_in_json(tmp_path: Path) -> None:
    found = outcome(tmp_path, asked(privacy=PrivacyTerms(mechanism="none")), ("round", said(*[COUNTED] * 3)))
    assert not found.private
    assert found.sites[0].epsilon == {EVERYBODY: math.inf}
    written = json.loads(json.dumps(found.as_json(), allow_nan=False))
    assert written["sites"][0]["epsilon"] == {EVERYBODY: None}
    assert "NOT private" in page(found)


def test_a_site_that_was_never_asked_spent_nothing(tmp_path: Path) -> None:
    found = outcome(tmp_path, asked(), ("round", said(COUNTED, COUNTED, NOT_ASKED)))
    assert found.sites[2].epsilon == {EVERYBODY: 0.0}


def test_no_result_was_computed_on_patients(tmp_path: Path) -> None:
    found = outcome(tmp_path, asked(), ("round", said(*[COUNTED] * 3))).as_json()
    assert found["evaluation"] is None
    assert not {"auc", "c_index", "accuracy", "patients", "cohorts"} & set(json.dumps(found).split('"'))


def test_a_name_cannot_become_markup_in_the_report(tmp_path: Path) -> None:
    protocol = asked()
    evil = replace(protocol, study=replace(protocol.study, question="<script>*bold*|"))
    text = page(outcome(tmp_path, evil, ("round", said(*[COUNTED] * 3))))
    assert "<script>" not in text
    assert "\\<script\\>\\*bold\\*\\|" in text
