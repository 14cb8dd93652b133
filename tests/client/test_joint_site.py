"""Under joint noise a hostile coordinator gets no masked byte out of a site: nothing charged or masked, one code."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.jointrogues import (
    FOUR,
    NAMES,
    Hostile,
    approve_only,
    declined,
    facing,
    home,
    joint_federation,
    kept,
    masked,
)
from tests.studies import private_protocol, small_federation

from wardround.common.learning.exchange import TASK
from wardround.common.learning.parameters import LARGEST, Parameters, parameters_digest, to_bytes
from wardround.common.trust.agreement import CLASSIC, SUITES
from wardround.common.trust.envelope import open_envelope
from wardround.common.trust.identity import SigningKey
from wardround.common.trust.securesum import SumSession
from wardround.common.trust.sumroster import AGREED, MASKED, OPEN, READY, ROSTER, SumContext
from wardround.common.trust.sumwire import pack_messages, read_labelled
from wardround.simulations.federation import begin

EAST, NORTH, SOUTH = NAMES
WEST = FOUR[-1]


@pytest.fixture
def hostile(tmp_path: Path, quick_disk: None) -> Iterator[Hostile]:
    with facing(joint_federation(tmp_path, rounds=2, attempts=2)) as found:
        yield found


@pytest.fixture
def of_four(tmp_path: Path, quick_disk: None) -> Iterator[Hostile]:
    with facing(joint_federation(tmp_path, FOUR, rounds=2, attempts=2, quorum=3)) as found:
        yield found


def creature(
    hostile: Hostile, name: str, *, key: SigningKey | None = None, suites: tuple[str, ...] = SUITES
) -> bytes:
    """The `ready` of somebody who does what the coordinator wants, under a name and a fresh key or its own."""
    asked = hostile.header(OPEN, name)
    context = SumContext(
        study=asked.study,
        protocol_digest=asked.protocol_digest,
        run=asked.run,
        round=asked.round,
        attempt=asked.attempt,
        base_model=asked.base_model,
        coordinator=asked.sender,
    )
    key = key or SigningKey.generate()
    return SumSession.open(key, name, context, approved={}, least=2, suites=suites).ready


# What a roster may not be. (What the coordinator makes of the genuine messages, why it is declined.)
Roster = dict[str, bytes]
ROSTERS: dict[str, tuple[Callable[[Hostile, Roster], list[bytes]], str]] = {
    "a swapped key": (
        lambda hostile, found: [*{**found, SOUTH: creature(hostile, SOUTH)}.values()],
        "the signature does not belong",
    ),
    "a hospital that the coordinator invented": (
        lambda hostile, found: [*found.values(), creature(hostile, "invented")],
        "'invented' is not among the sites that this site approved",
    ),
    "an invented hospital instead of a member": (
        lambda hostile, found: [found[EAST], found[NORTH], creature(hostile, "invented")],
        "'invented' is not among the sites that this site approved",
    ),
    "the coordinator itself": (
        lambda hostile, found: [*found.values(), creature(hostile, hostile.roster.coordinator)],
        "'coordinator' is not among the sites that this site approved",
    ),
    "a member twice": (
        lambda hostile, found: [*found.values(), found[SOUTH]],
        "found several of 'south'",
    ),
    "a short roster": (
        lambda hostile, found: [found[NORTH], found[SOUTH]],
        "expected at least 3 members in the roster, found 2",
    ),
    "the site alone": (lambda hostile, found: [found[NORTH]], "expected at least 2 members"),
    "without the site": (
        lambda hostile, found: [found[EAST], found[SOUTH]],
        "expected this site's own message among all",
    ),
    "nobody": (lambda hostile, found: [], "expected at least 2 members"),
    "messages of another kind": (
        lambda hostile, found: [*hostile.propose([SOUTH], found.values()).values(), *found.values()],
        "expected kind 'ready'",
    ),
}


@pytest.mark.parametrize("attack", ROSTERS)
def test_a_roster_that_is_not_what_it_should_be_is_declined(hostile: Hostile, attack: str) -> None:
    make, why = ROSTERS[attack]
    body = pack_messages(make(hostile, hostile.open()))
    assert why in declined(hostile, NORTH, hostile.ask(NORTH, ROSTER, body))


def test_bytes_that_are_no_roster_are_declined(hostile: Hostile) -> None:
    readies = hostile.open().values()
    for body in (b"", b"\xff" * 8, pack_messages(list(readies))[:-1], pack_messages(list(readies)) + b"!"):
        assert "TrustError" in declined(hostile, NORTH, hostile.ask(NORTH, ROSTER, body))


def test_a_peer_that_this_site_never_approved_is_declined_whatever_the_others_did(
    tmp_path: Path, quick_disk: None
) -> None:
    made = joint_federation(tmp_path)
    approve_only(made, NORTH, [EAST])
    with facing(made) as hostile:
        readies = hostile.open()
        hostile.propose([EAST, SOUTH], readies.values())
        reply = hostile.ask(NORTH, ROSTER, pack_messages(list(readies.values())))
        assert "'south' is not among the sites that this site approved" in declined(hostile, NORTH, reply)


def test_an_approval_that_was_taken_back_within_the_attempt_counts(tmp_path: Path, quick_disk: None) -> None:
    made = joint_federation(tmp_path)
    with facing(made) as hostile:
        agreements = hostile.agreements().values()
    approve_only(made, NORTH, [EAST])
    with facing(made) as hostile:
        reply = hostile.order(NORTH, agreements)
        assert "'south' is not among the sites that this site approved" in declined(hostile, NORTH, reply)


def test_collusion_that_a_site_tolerates_no_longer_within_the_attempt_counts(
    tmp_path: Path, quick_disk: None
) -> None:
    made = joint_federation(tmp_path)
    with facing(made) as hostile:
        agreements = hostile.agreements().values()
    policy = home(made, NORTH).folder / "site.toml"
    policy.write_text(policy.read_text() + "tolerated_collusion = 2\n")
    with facing(made) as hostile:
        reply = hostile.order(NORTH, agreements)
        assert "at least 4 members in the roster, found 3" in declined(hostile, NORTH, reply)


@pytest.mark.parametrize("policy", ["hybrid", "any"])
def test_a_roster_that_one_member_weakens_is_declined_unless_the_policy_takes_it(
    tmp_path: Path, quick_disk: None, policy: str
) -> None:
    made = joint_federation(tmp_path)
    file = home(made, NORTH).folder / "site.toml"
    file.write_text(file.read_text().replace('key_agreement = "any"', f'key_agreement = "{policy}"'))
    with facing(made) as hostile:
        south = SigningKey.load(home(made, SOUTH).folder / "identity.pem")
        weak = creature(hostile, SOUTH, key=south, suites=(CLASSIC,))
        body = pack_messages([*{**hostile.open(), SOUTH: weak}.values()])
        reply = hostile.ask(NORTH, ROSTER, body)
        if policy == "hybrid":
            assert "share no suite: 'east'" in declined(hostile, NORTH, reply)
        else:
            agreed = open_envelope(reply, hostile.roster, kind=AGREED).body
            assert read_labelled(agreed, AGREED, {"roster", "suite", "ciphertexts"}, "")["suite"] == CLASSIC


def test_two_rosters_are_noticed_by_all_before_anything_is_masked(of_four: Hostile) -> None:
    readies = of_four.open(FOUR)
    first, second = ([readies[name] for name in part] for part in (FOUR[:3], FOUR[1:]))
    agreed = of_four.propose([EAST, NORTH], first) | of_four.propose([SOUTH, WEST], second)
    for site in (EAST, NORTH):
        for names in (FOUR[:3], FOUR):
            reply = of_four.order(site, [agreed[name] for name in names])
            assert "is about another roster" in declined(of_four, site, reply)
    for site in (SOUTH, WEST):
        reply = of_four.order(site, [agreed[name] for name in FOUR[1:]])
        assert "is about another roster" in declined(of_four, site, reply)


def test_a_second_roster_in_one_attempt_is_declined(of_four: Hostile) -> None:
    readies = of_four.open(FOUR)
    of_four.propose([NORTH], [readies[name] for name in FOUR[:3]])
    reply = of_four.ask(NORTH, ROSTER, pack_messages(list(readies.values())))
    assert "a second roster was handed out" in declined(of_four, NORTH, reply)


def test_two_halves_that_are_each_too_small_are_declined(tmp_path: Path, quick_disk: None) -> None:
    """Six sites in two rosters of three: epsilon 1 would become 1.47."""
    names = ("a", "b", "c", "d", "e", "f")
    with facing(joint_federation(tmp_path, names, honest=4)) as hostile:
        readies = hostile.open(names)
        for half in (names[:3], names[3:]):
            body = pack_messages([readies[name] for name in half])
            for site in half:
                reply = hostile.ask(site, ROSTER, body)
                assert "expected at least 5 members in the roster, found 3" in declined(hostile, site, reply)


def another(model: Parameters) -> Parameters:
    return {name: array + np.float32(0.5) for name, array in model.items()}


def test_different_base_models_to_different_sites_are_declined(hostile: Hostile) -> None:
    other = another(hostile.model)
    readies = hostile.open([EAST, NORTH]) | hostile.open([SOUTH], base=parameters_digest(other))
    for site in NAMES:
        base = parameters_digest(other if site == SOUTH else hostile.model)
        reply = hostile.ask(site, ROSTER, pack_messages(list(readies.values())), base=base)
        assert "expected base_model" in declined(hostile, site, reply)


def test_another_model_than_all_agreed_to_is_declined(hostile: Hostile) -> None:
    agreements, other = hostile.agreements().values(), another(hostile.model)
    reply = hostile.order(NORTH, agreements, to_bytes(other))
    assert "not the one that the envelope names" in declined(hostile, NORTH, reply)
    reply = hostile.order(NORTH, agreements, to_bytes(other), base=parameters_digest(other))
    assert "no secure sum is open" in declined(hostile, NORTH, reply)
    assert masked(hostile, hostile.order(NORTH, agreements))  # what was refused cost nothing


@pytest.mark.parametrize("bad", [np.nan, np.inf, 10 * LARGEST])
def test_crafted_weights_are_declined_although_all_agreed_to_them(hostile: Hostile, bad: float) -> None:
    crafted = {name: array.copy() for name, array in hostile.model.items()}
    crafted["output.weight"][0, 0] = bad
    base = parameters_digest(crafted)
    agreements = hostile.agreements(base=base).values()
    reply = hostile.order(NORTH, agreements, to_bytes(crafted), base=base)
    assert "not finite or exceeds" in declined(hostile, NORTH, reply)


def test_a_model_of_another_shape_is_declined(hostile: Hostile) -> None:
    wide = {name: np.zeros((*array.shape[:-1], 9), np.float32) for name, array in hostile.model.items()}
    base = parameters_digest(wide)
    agreements = hostile.agreements(base=base).values()
    reply = hostile.order(NORTH, agreements, to_bytes(wide), base=base)
    assert "expected shape" in declined(hostile, NORTH, reply)


def test_agreements_that_are_not_those_of_all_members_are_declined(hostile: Hostile) -> None:
    agreed = hostile.agreements()
    for messages in (
        [agreed[NORTH], agreed[SOUTH]],
        [*agreed.values(), agreed[SOUTH]],
        [agreed[EAST], agreed[SOUTH]],
        [],
    ):
        assert "TrustError" in declined(hostile, NORTH, hostile.order(NORTH, messages))


@pytest.mark.parametrize("body", [b"", pack_messages([])])
def test_a_task_without_confirmed_agreements_is_declined(hostile: Hostile, body: bytes) -> None:
    task = body + to_bytes(hostile.model)
    assert "TrustError" in declined(hostile, NORTH, hostile.ask(NORTH, TASK, task))
    readies = hostile.open().values()
    assert "Error" in declined(hostile, NORTH, hostile.ask(NORTH, TASK, task))
    hostile.propose(NAMES, readies)
    assert "TrustError" in declined(hostile, NORTH, hostile.ask(NORTH, TASK, task))


@pytest.mark.parametrize("kind", [READY, AGREED, MASKED, "update", "present", "finished", "declined"])
def test_what_only_sites_say_is_declined(hostile: Hostile, kind: str) -> None:
    assert "this study's mechanism" in declined(hostile, NORTH, hostile.ask(NORTH, kind))


@pytest.mark.parametrize("kind", [OPEN, ROSTER, MASKED])
def test_a_secure_sum_is_declined_in_a_study_with_other_noise(
    tmp_path: Path, quick_disk: None, kind: str
) -> None:
    made = small_federation(tmp_path, private_protocol(), names=NAMES)
    made.folder.mkdir(parents=True)
    begin(made)
    with facing(made) as hostile:
        assert "this study's mechanism" in declined(hostile, NORTH, hostile.ask(NORTH, kind))


def test_a_plain_task_gets_nothing_out_of_a_study_under_joint_noise(hostile: Hostile) -> None:
    """A model is read as messages and a rest: a plain task is no shorter way to an unmasked update."""
    hostile.agreements()
    reply = hostile.ask(NORTH, TASK, to_bytes(hostile.model))
    assert "TrustError" in declined(hostile, NORTH, reply)


def test_a_message_that_somebody_else_sealed_gets_no_answer_at_all(hostile: Hostile) -> None:
    stranger = replace(hostile, key=SigningKey.generate())
    assert stranger.ask(NORTH, OPEN) == b""
    assert hostile.ask(NORTH, OPEN, study="another") == b""
    assert kept(hostile.made, NORTH) == []
