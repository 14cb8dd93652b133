"""The difference between two versions of a study: complete, and in words."""

from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest
from tests.consortia import JOINT, asked
from tests.evaluating import evaluated
from tests.hospital import AGE, FEATURES, SEX
from tests.studies import keys_and_roster, private_protocol

from wardround.client.differences import differences, roster_differences
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.terms import SiteTerms

BASE = asked()


def lines(after: StudyProtocol, before: StudyProtocol = BASE) -> list[str]:
    return [change.line() for change in differences(before, after)]


def test_the_same_study_has_no_differences() -> None:
    assert differences(BASE, asked()) == ()


def test_a_changed_term_is_named_with_both_values_and_its_meaning() -> None:
    (change,) = differences(BASE, asked(rounds=30))
    assert change.line() == "changed: federation.rounds from 3 to 30"
    assert change.meaning == "Completed rounds of the study."


def test_features_that_came_and_went_are_named() -> None:
    other = replace(AGE, name="bmi", unit="kg/m2", low=10, high=80, mean=27, sd=5)
    after = replace(BASE, features=(other, *(each for each in FEATURES if each != SEX)))
    found = lines(after)
    (added,) = [line for line in found if line.startswith("added: features bmi = ")]
    assert "kg/m2" in added
    assert "high 80" in added
    assert any(line.startswith("removed: features sex") for line in found)
    assert len(found) == 2


def test_a_changed_constant_of_a_feature_is_seen() -> None:
    after = replace(BASE, features=(replace(AGE, sd=13), *FEATURES[1:]))
    (line,) = lines(after)
    assert line.startswith("changed: features age from ")
    assert "sd 12" in line
    assert "sd 13" in line


def test_another_order_of_the_features_is_seen() -> None:
    assert lines(replace(BASE, features=FEATURES[::-1])) == [
        "changed: order of the features from the approved one to another"
    ]


def test_sites_and_their_weights_are_compared() -> None:
    two = asked(sites=(SiteTerms(name="north", weight=2.0), SiteTerms(name="south")))
    assert lines(two) == ["added: federation.sites north = weight 2", "added: federation.sites south"]
    assert lines(two, replace(two, federation=replace(two.federation, sites=two.federation.sites[::-1]))) == [
        "changed: order of the sites from the approved one to another"
    ]


def test_a_close_number_is_not_rounded_away() -> None:
    after = replace(BASE, privacy=replace(BASE.privacy, noise_multiplier=20.000000001))
    assert lines(after) == ["changed: privacy.noise_multiplier from 20 to 20.000000001"]
    least = replace(BASE, privacy=replace(BASE.privacy, noise_multiplier=20 * (1 + 2**-52)))
    assert least.digest != BASE.digest
    assert lines(least) == ["changed: privacy.noise_multiplier from 20 to 20.000000000000004"]


def variants(terms: Any) -> list[tuple[str, Any]]:
    """Each term of a section with another value that is acceptable alone."""
    found = []
    for each in fields(terms):
        value = getattr(terms, each.name)
        for other in others(value):
            try:
                found.append((each.name, replace(terms, **{each.name: other})))
            except Exception:  # noqa: S112  (terms that cannot stand alone are no variant)
                continue
            break
    return found


def others(value: object) -> list[object]:
    match value:
        case bool():
            return []
        case int() | float():
            return [value + 1, value / 2, value - 1, value + 2]
        case str():
            return [value + "x", "mlp", "cox", "fedavgm", "unit", "statistics"]
        case tuple():
            return [(*value, "x"), ("x",), (1.0,)]
    return []


@pytest.mark.parametrize(
    "section", ["study", "outcome", "cohort", "inputs", "model", "federation", "privacy"]
)
@pytest.mark.parametrize("base", [BASE, asked(privacy=JOINT)], ids=["site-noise", "joint-noise"])
def test_no_term_of_any_section_changes_unseen(section: str, base: StudyProtocol) -> None:
    tried = 0
    for name, terms in variants(getattr(base, section)):
        try:
            after = replace(base, **{section: terms})
        except Exception:  # noqa: S112  (another section forbids it)
            continue
        if after.digest == base.digest:
            continue
        tried += 1
        assert any(change.term == f"{section}.{name}" for change in differences(base, after)), name
    assert tried >= (1 if section == "model" else 2)


def test_every_section_of_a_protocol_is_among_those_compared() -> None:
    sections = {each.name for each in fields(BASE) if is_dataclass(getattr(BASE, each.name))}
    known = {"study", "outcome", "cohort", "inputs", "model", "federation", "privacy", "fairness"}
    assert sections == known  # and the evaluation, which a study may lack


def test_an_evaluation_that_was_added_or_asks_for_more_is_named_term_by_term() -> None:
    before = private_protocol()
    added = {change.term: change.after for change in differences(before, evaluated(before, epsilon=1.0))}
    assert added["evaluation.epsilon"] == "1"
    assert added["evaluation.groups sex"] == "f, m"
    asks, more = evaluated(before, epsilon=1.0), evaluated(before, epsilon=2.0, attempts=9)
    assert {change.term for change in differences(asks, more)} == {
        "evaluation.epsilon",
        "evaluation.attempts",
    }


def test_members_that_came_went_or_changed_their_key_are_named() -> None:
    keys, before = keys_and_roster("north", "south", "west")
    fresh, _ = keys_and_roster("south")
    sites = {
        "north": keys["north"].public,
        "south": fresh["south"].public,
        "east": fresh["coordinator"].public,
    }
    found = {
        (change.what, change.term) for change in roster_differences(before, replace(before, sites=sites))
    }
    assert found == {("changed", "member south"), ("removed", "member west"), ("added", "member east")}
