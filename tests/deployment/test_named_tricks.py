"""Somebody does what the protocol does not foresee: each is refused by name, or changes nothing."""

import signal
import subprocess
import sys
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
from flwr.app import Message
from tests.deployment.promises import asked, counted, ends_as_uninterrupted, ledger, moments
from tests.deployment.scripted import Script
from tests.deployment.wards import Ward, ward
from tests.flowerline import until
from tests.rawnode import RawNode, forged

from wardround.common.learning.exchange import DECLINED, FINISH, NO_MODEL, UPDATE
from wardround.common.trust.envelope import open_envelope

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def running_ward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    with ward(tmp_path_factory.mktemp("ward"), asked("first")) as made:
        made.up()
        yield made


def kind(script: Script, answer: bytes | str) -> str:
    """What an answer is; the reason of an error as it is."""
    if isinstance(answer, str):
        return answer
    return open_envelope(answer, script.coordinator.roster, sender=script.site).header.kind


@pytest.mark.failure("round 7 asked twice", "the same bytes again, one charge")
def test_round_seven_asked_twice_is_answered_with_the_same_bytes_and_charged_once(running_ward: Ward) -> None:
    protocol = counted("seven", rounds=9)
    running_ward.agree(protocol)
    script = Script(running_ward, protocol, "north")
    other = {name: np.ones_like(value) for name, value in script.base.items()}
    asked_for = [script.task(number) for number in range(1, 8)]
    *_, seventh, again, changed, older = script.say(
        [*asked_for, script.task(7), script.task(7, base=other), script.task(6)]
    )
    assert kind(script, seventh) == UPDATE
    assert again == seventh
    assert changed == seventh  # what left for round 7 is all that ever leaves for it
    assert kind(script, older) == DECLINED
    assert moments(running_ward, "north", "seven", "spend") == [(number, 1) for number in range(1, 8)]
    assert "the ledger says that round 6, attempt 1 was answered" in running_ward.refusals("north")[-1]


@pytest.mark.failure("a replayed task", "refused, or answered with the same bytes; no charge")
def test_tasks_replayed_in_a_later_run_are_refused_and_cost_nothing(running_ward: Ward) -> None:
    protocol = counted("replay", rounds=3)
    running_ward.agree(protocol)
    script = Script(running_ward, protocol, "north")
    tasks = [script.task(number) for number in (1, 2, 3)]
    first = script.say(tasks)
    assert [kind(script, one) for one in first] == [UPDATE] * 3
    before = ledger(running_ward, "north")
    replayed = script.say(tasks)  # another run of Flower's, as after a restart
    assert [kind(script, one) for one in replayed] == [DECLINED, DECLINED, UPDATE]
    assert replayed[2] == first[2]
    assert ledger(running_ward, "north") == before
    finish = script.coordinator.seal("north", FINISH, b"", 3, 0, NO_MODEL)
    _, early, middle, late = script.say([finish, *tasks])
    assert [kind(script, early), kind(script, middle)] == [DECLINED] * 2
    assert late == first[2]  # what left once is all that ever leaves
    assert moments(running_ward, "north", "replay", "spend") == [(1, 1), (2, 1), (3, 1)]


@pytest.mark.failure(
    "a hospital pushes a task into another's queue", "refused, named in the log; uninterrupted model"
)
def test_a_hospital_cannot_put_a_task_into_anothers_queue(running_ward: Ward) -> None:
    name = running_ward.agree(asked("pushed"))
    running_ward.down("south")
    process = running_ward.start(name, wait=120)
    number = {node.name: node.number for node in running_ward.nodes()}
    liar = RawNode(
        running_ward.server.link_place(), running_ward.folder("south") / "node.key", number["south"]
    )
    victim, heard = number["north"], list[Message]()

    def hears() -> bool:
        heard.extend(liar.pull())
        return bool(heard)

    try:
        until(hears, process)
        question = heard[0]
        with pytest.raises(httpx.HTTPStatusError) as refused:
            liar.push(forged(question, sender=liar.number, receiver=victim, reply=False))
        assert refused.value.response.status_code in (400, 403)
        with pytest.raises(httpx.HTTPStatusError):
            liar.push(forged(question, sender=victim, receiver=1, reply=True))
    finally:
        liar.leave()
    running_ward.up("south")
    ends_as_uninterrupted(running_ward, name, process)
    said = (running_ward.server.folder / "logs" / "superlink.log").read_text(encoding="utf-8")
    assert "sent a message that is no reply" in said
    assert "sent a message in another node's name" in said


@pytest.mark.failure(
    "a changed protocol under an approved name", "refused by name until approved, then it runs"
)
def test_a_changed_protocol_under_an_approved_name_runs_only_once_it_is_approved(running_ward: Ward) -> None:
    name = running_ward.agree(asked("changed", rounds=3))
    changed = asked("changed", rounds=2)
    running_ward.publish(changed)
    process = running_ward.start(name, wait=5)
    for site in ("north", "south"):
        until(lambda site=site: "never approved" in "".join(running_ward.refusals(site)), process)  # type: ignore[misc]
    assert running_ward.rounds(name) == 0
    running_ward.agree(changed)
    ends_as_uninterrupted(running_ward, name, process, rounds=2)


@pytest.mark.failure(
    "a second run started while one is active", "refused: is running already; uninterrupted model"
)
def test_a_second_run_is_refused_while_one_is_active(running_ward: Ward) -> None:
    name, other = running_ward.agree(asked("active")), running_ward.agree(asked("other", rounds=1))
    process = running_ward.start(name)
    running_ward.at_round(name, 1)
    process.send_signal(signal.SIGSTOP)  # alive, and holds its place
    for wanted in (name, other):
        second = subprocess.run(
            [sys.executable, "-m", "wardround", "server", "start", running_ward.server.folder, wanted],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert second.returncode == 8
        assert "is running already" in second.stderr
    process.send_signal(signal.SIGCONT)
    ends_as_uninterrupted(running_ward, name, process)


@pytest.mark.failure("two copies of a site running", "the second is not let in; alone, its ledger is refused")
def test_of_two_copies_of_a_site_only_one_is_let_in_and_the_old_ledger_is_refused(running_ward: Ward) -> None:
    first, later = counted("copies", rounds=12), counted("later", rounds=2)
    names = [running_ward.agree(one) for one in (first, later)]
    twin = running_ward.copy("north")
    process = running_ward.start(names[0])
    running_ward.at_round(names[0], 2)
    running_ward.launch(twin)
    until(
        lambda: "same key was online" in running_ward.last_error(twin, "supernode"),
        running_ward.processes[twin],
    )
    running_ward.finish(names[0], process)
    spent = moments(running_ward, "north", names[0], "spend")
    assert spent == [(number, 1) for number in range(1, 13)]
    running_ward.down("north", twin)
    running_ward.up(twin)
    running_ward.finish(names[1], running_ward.start(names[1], wait=5))
    assert "it was rolled back" in "".join(running_ward.refusals(twin))
    assert moments(running_ward, twin, names[1], "spend") == []
    running_ward.down(twin)
    running_ward.up("north")
