"""The review of a study: everything a person should know, computed at the site, sending nothing."""

import json
import math
import socket
from dataclasses import replace
from pathlib import Path

import pytest
from tests.consortia import JOINT, NOISE, Consortium, asked
from tests.hospital import FEATURES, gives_away, hospital, only

from wardround.client.approving import approve
from wardround.client.peers import approve_peers
from wardround.client.review import Review, review
from wardround.client.reviewprint import as_dict, page
from wardround.client.revoking import revoke
from wardround.common.errors import TrustError, WardroundError
from wardround.common.learning.features import FeaturePath
from wardround.common.privacy.accounting import epsilon
from wardround.common.privacy.coalitions import joint_epsilons
from wardround.common.privacy.events import times
from wardround.common.study.protocol import StudyProtocol
from wardround.server.enrolment import remove
from wardround.simulations.observers import EVERYBODY, cost
from wardround.simulations.observers import JOINT as OBSERVERS

STUDY = asked()
SUM = asked(privacy=JOINT)


@pytest.fixture
def made(tmp_path: Path) -> Consortium:
    return Consortium(tmp_path)


def look(made: Consortium, protocol: StudyProtocol = STUDY) -> Review:
    return review(made.site("north"), made.bundle(protocol))


def words(made: Consortium, protocol: StudyProtocol = STUDY) -> str:
    return " ".join(page(look(made, protocol)).split())


def test_the_first_review_says_that_all_is_new_and_the_second_what_changed(made: Consortium) -> None:
    text = words(made)
    assert "all of it is new" in text
    assert "Who responds?" in text
    assert "research on response" in text
    made.approve("north", STUDY)
    assert "Compared with revision 1, approved here" in words(made)
    after = replace(asked(rounds=9), features=FEATURES[:-1])
    text = words(made, after)
    assert "changed: federation.rounds from 3 to 9 [Completed rounds of the study.]" in text
    assert f"removed: features {FEATURES[-1].name}" in text
    assert "revision 2" in text


def test_no_text_of_a_coordinator_moves_the_cursor_or_turns_the_writing_round(made: Consortium) -> None:
    crafted = "care\x1b[2J\x1b[1;1H\r\n\u202e\x9b2J\u200b"
    protocol = replace(STUDY, study=replace(STUDY.study, purpose=crafted, question=crafted))
    text = page(look(made, protocol))
    assert all(line.isprintable() for line in text.splitlines())
    assert "\r" not in text
    assert "care\\x1b[2J" in text


def test_members_that_left_since_the_last_approval_are_named(made: Consortium) -> None:
    made.approve("north", STUDY)
    remove(made.server, "west")
    assert "removed: member west" in words(made)


def test_each_epsilon_is_what_the_accountant_says(made: Consortium) -> None:
    (only_one,) = look(made).adversaries
    delta = STUDY.privacy.delta
    assert only_one.planned == epsilon(times(STUDY.event(), 3), delta)
    assert only_one.worst == epsilon(times(STUDY.event(), 6), delta)
    assert only_one.worst == cost(times(STUDY.event(), 6), EVERYBODY, sites=3, delta=delta)
    assert only_one.worst_replacing == epsilon(times(STUDY.event(), 6), delta, "replace-one")


def test_joint_noise_names_four_adversaries_with_the_fewest_sites_that_this_one_accepts(
    made: Consortium,
) -> None:
    found = look(made, SUM).adversaries
    events = times(SUM.event(), 6)
    assert [each.worst for each in found] == [
        cost(events, observer, sites=2 + 1, delta=SUM.privacy.delta) for observer in OBSERVERS
    ]
    (event,) = events
    assert found[3].worst == joint_epsilons(event, sites=3, delta=SUM.privacy.delta).everyone_else  # type: ignore[arg-type]
    assert [each.planned for each in found] == sorted(each.planned for each in found)


def test_both_caps_are_stated_with_what_is_left(made: Consortium) -> None:
    made.edit("north", "# epsilon_cap_alone = 10.0", "epsilon_cap_alone = 5.0")
    made.approve("north", STUDY)
    found = look(made, asked("next", privacy=JOINT))
    together = [*times(STUDY.event(), 6), *times(SUM.event(), 6)]
    for each, cap in zip(found.caps, (8.0, 5.0), strict=True):
        assert (each.cap, each.before) == (cap, epsilon(times(STUDY.event(), 6), 1e-5))
        assert each.after == epsilon(together, 1e-5, against=each.against)
        assert math.isclose(each.left, cap - each.after)
    assert found.caps[1].after > found.caps[0].after


def test_an_approved_study_is_not_counted_twice(made: Consortium) -> None:
    made.approve("north", STUDY)
    found = look(made)
    assert found.status == "approved"
    assert found.caps[0].before == found.caps[0].after == epsilon(times(STUDY.event(), 6), 1e-5)


@pytest.mark.parametrize("cap", [0.2, 0.4248, 0.4249, 0.43])
def test_review_and_approval_agree_about_the_cap(made: Consortium, cap: float) -> None:
    made.edit("north", "epsilon_cap = 8.0", f"epsilon_cap = {cap}")
    allowed = look(made).allowed
    assert allowed == (epsilon(times(STUDY.event(), 6), 1e-5) <= cap)
    if allowed:
        made.approve("north", STUDY)
    else:
        with pytest.raises(WardroundError, match="lifetime cap"):
            made.approve("north", STUDY)


def test_every_reason_against_it_is_listed_and_approval_refuses(made: Consortium) -> None:
    made.edit("north", "# purposes", 'purposes = ["care"] # ')
    only(hospital(12)).to_csv(made.site("north") / "patients.csv", index=False)
    found = look(made)
    assert [type(each).__name__ for each in found.refusals] == ["PolicyRefusal", "CohortError"]
    text = words(made)
    assert "cannot be approved here" in text
    assert "[few-patients]" in text
    with pytest.raises(WardroundError):
        made.approve("north", STUDY)


def test_a_roster_without_this_site_and_an_older_roster_are_reasons(made: Consortium) -> None:
    old = made.bundle(STUDY)
    made.approve("north", STUDY)
    remove(made.server, "west")
    made.approve("north", STUDY)
    assert "version 4 or newer" in str(review(made.site("north"), old).refusals[0])
    remove(made.server, "north")
    assert "does not hold 'north'" in str(look(made).refusals[0])


def test_peers_that_nobody_here_compared_are_named(made: Consortium) -> None:
    found = look(made, SUM)
    assert found.least == 3
    assert {each.name: each.standing for each in found.members} == {
        "north": "this site",
        "south": "not approved",
        "west": "not approved",
    }
    assert any("declines every round" in warning for warning in found.warnings)
    keys = {name: made.office(name).key.public for name in ("south", "west")}
    approve_peers(made.site("north"), {"south": keys["south"]})
    assert look(made, SUM).members[1].standing == "approved"
    approve_peers(made.site("north"), {"west": keys["west"]})
    assert not any("declines every round" in warning for warning in look(made, SUM).warnings)


def test_a_peer_with_another_key_is_told_apart(made: Consortium, tmp_path: Path) -> None:
    other = Consortium(tmp_path / "other", names=("south",))
    approve_peers(made.site("north"), {"south": other.office("south").key.public})
    assert look(made, SUM).members[1].standing == "approved with another key"


def test_the_standing_of_the_study_follows_what_happened(made: Consortium) -> None:
    assert look(made).status == "new"
    made.approve("north", STUDY)
    revoke(made.site("north"), "asked")
    assert look(made).status == "revoked"
    assert look(made).allowed
    made.approve("north", STUDY)
    with made.ledger("north") as ledger:
        made.office("north").door(ledger).close(STUDY)
    found = look(made)
    assert found.status == "finished"
    assert "--again" in found.refusals[-1].advice


def test_an_older_revision_and_a_version_that_stays_approved_are_pointed_out(made: Consortium) -> None:
    first = made.bundle(STUDY)
    second = made.bundle(asked(rounds=4))
    approve(made.site("north"), second)
    found = review(made.site("north"), first)
    assert any("older than revision 2" in warning for warning in found.warnings)
    assert any("stays approved" in warning for warning in found.warnings)


def test_without_privacy_epsilon_is_infinite_and_said_so(made: Consortium) -> None:
    plain = replace(STUDY, privacy=replace(NOISE, mechanism="none", noise_multiplier=0.0))
    text = words(made, plain)
    assert "infinite as planned" in text
    assert "WITHOUT NOISE" in text
    json.dumps(as_dict(look(made, plain)), allow_nan=False)


def test_a_damaged_or_foreign_bundle_is_not_reviewed(made: Consortium) -> None:
    data = made.bundle(STUDY)
    with pytest.raises(TrustError):
        review(made.site("north"), data.replace(b"rounds = 3", b"rounds = 4"))


def test_no_patient_stands_in_a_review(made: Consortium) -> None:
    frame = only(hospital(seed=0))
    frame.loc[:2, "age"] = "1234.567"
    frame.to_csv(made.site("north") / "patients.csv", index=False)
    found = look(made)
    assert found.findings is not None
    text = page(found) + json.dumps(as_dict(found)) + repr(found)
    assert "outside-range" in text
    assert gives_away(text, frame) == []


def test_nothing_is_sent_and_no_file_of_the_site_changes(
    made: Consortium, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = made.bundle(STUDY)
    look(made)  # the first opening makes the ledger

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a review opened a connection")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    files = {path: path.read_bytes() for path in made.site("north").rglob("*") if path.is_file()}
    review(made.site("north"), data)
    assert {path: path.read_bytes() for path in made.site("north").rglob("*") if path.is_file()} == files


def test_the_page_has_a_public_width_of_the_model(made: Consortium) -> None:
    width = FeaturePath.from_protocol(STUDY, None).width
    assert f"numbers: output.weight, 1 x {width}, float32" in words(made)
    assert all(len(line) <= 100 for line in page(look(made)).splitlines())


def test_the_json_form_is_complete(made: Consortium) -> None:
    found = as_dict(look(made, SUM))
    assert json.loads(json.dumps(found, allow_nan=False))["allowed"] is True
    assert set(found) >= {"changes", "epsilon", "caps", "leaving", "members", "table", "warnings", "refusals"}
    assert [each["name"] for each in found["features"]] == [each.name for each in FEATURES]  # type: ignore[attr-defined]
