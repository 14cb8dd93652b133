"""The roll call: a site is known by its signature, and whoever is absent costs nobody anything."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Event, Timer

import pytest
from flwr.app import Error, Message
from tests.rogues import HOSTILE, NAMES, PROTOCOL, QUICK, Replies, federation, play, silent
from tests.studies import private_protocol, roster_of, small_federation

from wardround.client.site import Site
from wardround.common.errors import StudyError
from wardround.common.trust.identity import Roster, SigningKey
from wardround.common.trust.studylog import read_log
from wardround.server.coordinator import LOG
from wardround.simulations.federation import Federation
from wardround.simulations.hospitals import Premises, exposures


def impostors(premises: Sequence[Premises], roster: Roster) -> Mapping[str, Site]:
    """A stranger who gives its own name, and one who gives a member's."""
    found = {}
    for name, site in (("stranger", "stranger"), ("impostor", "north")):
        office = replace(premises[1].office, key=SigningKey.generate())
        hospital = replace(premises[1].hospital, name=site)
        found[name] = replace(premises[1], office=office, hospital=hospital).site(PROTOCOL, roster)
    return found


@pytest.mark.usefixtures("quick_disk")
def test_strangers_and_impostors_at_the_roll_call_are_not_heard(tmp_path: Path) -> None:
    made = federation(tmp_path / "a")
    assert play(made, strangers=impostors) == play(federation(tmp_path / "b"))
    entries = read_log(made.folder / LOG, roster_of(made))
    assert entries[-1].data["confirmed"] == list(NAMES)


def private(root: Path) -> Federation:
    made = small_federation(root, private_protocol(), names=NAMES)
    made.folder.mkdir(parents=True)
    return made


def test_an_absent_site_ends_the_study_within_the_limit_and_nobody_is_charged(tmp_path: Path) -> None:
    made = private(tmp_path)
    with pytest.raises(StudyError, match=r"^south did not appear within 0\.2 s"):
        play(made, absent="south", waiting=replace(QUICK, sites=0.2))
    assert [exposures(hospital) for hospital in made.hospitals] == [[], [], []]


def test_a_node_that_never_answers_the_roll_call_does_not_hold_it_up(tmp_path: Path) -> None:
    made, began = private(tmp_path), time.monotonic()
    with pytest.raises(StudyError, match=r"^south did not appear within 0\.2 s"):
        play(made, silent(HOSTILE), waiting=replace(QUICK, sites=0.2, replies=3600.0))
    assert time.monotonic() - began < 30
    assert [exposures(hospital) for hospital in made.hospitals] == [[], [], []]


@pytest.mark.usefixtures("quick_disk")
def test_a_site_that_was_busy_at_the_roll_call_is_asked_again(tmp_path: Path) -> None:
    fails = [True]

    def busy_once(replies: Replies) -> Replies:
        if replies and fails:
            fails.clear()
            reply, *others = replies
            error = Message(Error(code=2, reason="SiteFailed"), reply_to=reply)
            error.metadata.__dict__["_reply_to_message_id"] = reply.metadata.reply_to_message_id
            return [error, *others]
        return replies

    assert play(federation(tmp_path / "a"), busy_once) == play(federation(tmp_path / "b"))


def test_whoever_waits_can_be_stopped_from_outside(tmp_path: Path) -> None:
    stop, began = Event(), time.monotonic()
    Timer(0.3, stop.set).start()
    with pytest.raises(StudyError, match="stopped"):
        play(private(tmp_path), silent(HOSTILE), waiting=replace(QUICK, sites=600.0, stop=stop))
    assert time.monotonic() - began < 60
