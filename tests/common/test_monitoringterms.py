"""`[monitoring]` of a study: what may be asked, and that a study that trains is what it was."""

from dataclasses import replace

import pytest
from tests.evaluating import evaluated
from tests.studies import joint_protocol, private_protocol

from wardround.common.errors import ProtocolError, UsageError
from wardround.common.learning.study import training_sites
from wardround.common.study.monitoring import MonitoringTerms
from wardround.common.study.parts import parts
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.reader import dumps, loads
from wardround.common.study.terms import FederationTerms

TERMS = MonitoringTerms(
    study="first", protocol="a" * 64, model="b" * 64, calibration="c" * 64, patients="first seen in 2027"
)
JUDGED = evaluated(private_protocol(), external_sites=("west",))


def monitoring(protocol: StudyProtocol = JUDGED, **federation: object) -> StudyProtocol:
    rounds = FederationTerms(**{"rounds": 0, **federation})  # type: ignore[arg-type]
    return replace(protocol, federation=rounds, monitoring=TERMS)


def test_a_study_that_trains_has_the_digest_that_it_had() -> None:
    assert private_protocol().digest.startswith("0eb22e43")
    assert "monitoring" not in dumps(JUDGED)


@pytest.mark.parametrize("study", [JUDGED, evaluated(joint_protocol())], ids=["site", "joint"])
def test_a_study_that_monitors_is_written_and_read_back(study: StudyProtocol) -> None:
    asked = monitoring(study)
    assert loads(dumps(asked), "text") == asked
    other = replace(asked, monitoring=replace(TERMS, patients="first seen in 2028"))
    assert len({asked.digest, other.digest, study.digest}) == 3


def test_its_one_round_is_the_evaluation_of_all_members_charged_to_those_held_out() -> None:
    asked = monitoring()
    assert [asked.evaluates(number) for number in (0, 1, 2)] == [False, True, False]
    assert [asked.attempts_of(number) for number in (0, 1, 2)] == [0, 2, 0]
    names = ("north", "west")
    assert training_sites(asked, names) == names
    assert training_sites(JUDGED, names) == ("north",)
    assert [(part.pool, part.share) for part in parts(asked, "north")] == [("held-out", 0.25)]
    assert [(part.pool, part.share) for part in parts(asked, "west")] == [("held-out", 1.0)]


def test_a_study_either_trains_or_monitors() -> None:
    with pytest.raises(
        ProtocolError, match="expected rounds = 0 with \\[monitoring\\] and only then, found 3"
    ):
        monitoring(rounds=3)
    with pytest.raises(ProtocolError, match="only then, found 0"):
        private_protocol(rounds=0)
    with pytest.raises(ProtocolError, match="no \\[evaluation\\]"):
        monitoring(private_protocol())
    with pytest.raises(ProtocolError, match="no round sums statistics"):
        monitoring(evaluated(joint_protocol()), first_round="statistics")


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"model": "b" * 63}, "model is a SHA-256"),
        ({"protocol": "A" * 64}, "protocol is a SHA-256"),
        ({"calibration": ""}, "calibration is a SHA-256"),
        ({"patients": " "}, "which patients"),
        ({"study": ""}, "which study"),
        ({"smallest_change": 0.0}, "smallest_change"),
        ({"smallest_change": 1.5}, "smallest_change"),
    ],
)
def test_terms_that_name_nothing_are_refused(change: dict[str, object], word: str) -> None:
    with pytest.raises((ProtocolError, UsageError), match=word):
        replace(TERMS, **change)  # type: ignore[arg-type]
