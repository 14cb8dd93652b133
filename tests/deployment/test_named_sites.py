"""A hospital's own processes fail or are slow, over real processes: the study ends with the uninterrupted model."""

import os
import signal
import time
from collections.abc import Iterator

import pytest
from tests.deployment.killing import child_of, kill
from tests.deployment.promises import asked, ends_as_uninterrupted
from tests.deployment.surroundings import hold_back
from tests.deployment.wards import Ward, ward

pytestmark = pytest.mark.slow
MINUTE = 60.0


@pytest.fixture(scope="module")
def running_ward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    with ward(tmp_path_factory.mktemp("ward"), asked("first")) as made:
        made.up()
        yield made


@pytest.mark.failure("SuperNode killed", "started again; let in after up to a minute; uninterrupted model")
def test_the_supernode_is_killed(running_ward: Ward) -> None:
    name = running_ward.agree(asked("supernode"))
    process = running_ward.start(name)
    running_ward.at_round(name, 1)
    kill(running_ward.pid("north", "supernode"))
    ends_as_uninterrupted(running_ward, name, process)


@pytest.mark.failure("site restarted within seconds, in order", "no void attempt; uninterrupted model")
def test_a_site_is_restarted_within_seconds(running_ward: Ward) -> None:
    name = running_ward.agree(asked("restarted"))
    process = running_ward.start(name)
    running_ward.at_round(name, 1)
    running_ward.down("north")
    running_ward.up("north")
    ends_as_uninterrupted(running_ward, name, process)


@pytest.mark.failure(
    "site restarted within seconds after all its processes were killed", "uninterrupted model"
)
def test_a_site_is_restarted_within_seconds_after_a_power_cut(running_ward: Ward) -> None:
    name = running_ward.agree(asked("power"))
    process = running_ward.start(name)
    running_ward.at_round(name, 1)
    running_ward.pull_the_plug("north")
    running_ward.up("north")
    ends_as_uninterrupted(running_ward, name, process)


@pytest.mark.failure("site slow by a minute", "waited for; no void attempt; uninterrupted model")
def test_a_site_is_slow_by_a_minute(running_ward: Ward) -> None:
    name = running_ward.agree(asked("slow", rounds=2, local_steps=8000))
    process = running_ward.start(name, limit=600)
    running_ward.at_round(name, 1)
    began = time.monotonic()
    hold_back(child_of(running_ward.pid("north", "executor")), MINUTE, run=0.01)
    assert time.monotonic() - began >= MINUTE
    ends_as_uninterrupted(running_ward, name, process, rounds=2)
    assert "does not count" not in running_ward.said(f"start-{name}")


@pytest.mark.failure("site frozen for more than a minute", "at most one attempt more; uninterrupted model")
def test_a_site_is_frozen_for_more_than_a_minute(running_ward: Ward) -> None:
    name = running_ward.agree(asked("frozen", local_steps=1000))
    process = running_ward.start(name, limit=600)
    running_ward.at_round(name, 1)
    child = child_of(running_ward.pid("north", "executor"))
    os.kill(child, signal.SIGSTOP)
    time.sleep(1.2 * MINUTE)
    os.kill(child, signal.SIGCONT)
    ends_as_uninterrupted(running_ward, name, process)
    assert running_ward.said(f"start-{name}").count("attempt") <= 1
