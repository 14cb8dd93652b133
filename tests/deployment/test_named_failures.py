"""Failures at named points of a study over real processes; each study ends with the uninterrupted model."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from tests.deployment.killing import child_of, kill
from tests.deployment.promises import asked, ends_as_uninterrupted
from tests.deployment.wards import Ward, ward
from tests.flowerline import end, until


@pytest.fixture(scope="module")
def running_ward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    with ward(tmp_path_factory.mktemp("ward"), asked("first")) as made:
        made.up()
        yield made


@pytest.mark.slow
@pytest.mark.failure("child of the executor killed while it computes", "no void attempt; uninterrupted model")
def test_the_child_that_computes_is_killed(running_ward: Ward) -> None:
    name = running_ward.agree(asked("child"))
    executor = running_ward.pid("north", "executor")
    process = running_ward.start(name)
    running_ward.at_round(name, 1)
    kill(child_of(executor))
    ends_as_uninterrupted(running_ward, name, process)
    assert running_ward.pid("north", "executor") == executor


@pytest.mark.slow
@pytest.mark.failure("executor killed", "started again; uninterrupted model")
def test_the_executor_is_killed(running_ward: Ward) -> None:
    name = running_ward.agree(asked("executor"))
    process = running_ward.start(name)
    running_ward.at_round(name, 1)
    kill(running_ward.pid("south", "executor"))
    ends_as_uninterrupted(running_ward, name, process)


@pytest.mark.slow
@pytest.mark.failure("SuperLink killed", "started again, hospitals come back; uninterrupted model")
def test_the_superlink_is_killed(running_ward: Ward) -> None:
    name = running_ward.agree(asked("superlink"))
    process = running_ward.start(name)
    running_ward.at_round(name, 1)
    kill(running_ward.pid("hub", "superlink"))
    ends_as_uninterrupted(running_ward, name, process)


@pytest.mark.failure("`server start` killed", "goes on from its checkpoint; uninterrupted model")
@pytest.mark.slow
def test_the_start_command_is_killed_after_a_second_one_was_refused(running_ward: Ward) -> None:
    name = running_ward.agree(asked("start", rounds=6))
    process = running_ward.start(name)
    running_ward.at_round(name, 1)
    process.send_signal(signal.SIGSTOP)  # alive, and holds the study
    second = subprocess.run(
        [sys.executable, "-m", "wardround", "server", "start", running_ward.server.folder, name],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert second.returncode == 8
    assert "is running already" in second.stderr
    done = running_ward.rounds(name)
    assert end(process, signal.SIGKILL) == -signal.SIGKILL
    assert 1 <= done < 6
    ends_as_uninterrupted(running_ward, name, running_ward.start(name), rounds=6)


@pytest.mark.slow
@pytest.mark.failure("network of a hospital cut and healed", "what was lost comes again; uninterrupted model")
def test_the_network_of_a_hospital_is_cut_and_healed(running_ward: Ward) -> None:
    name = running_ward.agree(asked("cut"))
    process = running_ward.start(name, limit=600.0)
    running_ward.at_round(name, 1)
    running_ward.cables["north"].cut()
    time.sleep(3)
    assert process.poll() is None
    running_ward.cables["north"].heal()
    ends_as_uninterrupted(running_ward, name, process)
    until(lambda: running_ward.ready("north"))
