"""Starting a study: what was published runs, one at a time, and it is known who left the roster."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.consortia import Consortium, asked
from tests.flowerline import alive, until
from tests.hospital import hospital, only
from tests.runs import command

from wardround.client.joining import make_request
from wardround.common.durable import exclusive
from wardround.common.errors import StudyError, TrustError
from wardround.common.trust.identity import SigningKey
from wardround.server.enrolment import current_roster, enrol, remove
from wardround.server.running import LOCK, is_running, left_of, published, run_study
from wardround.server.serverfile import ServerFile

STUDY = asked()


@pytest.fixture
def made(tmp_path: Path) -> Consortium:
    found = Consortium(tmp_path, names=("north", "south", "west"))
    found.publish(STUDY)
    return found


def test_nobody_left_at_first(made: Consortium) -> None:
    assert left_of(made.server, current_roster(made.server).roster) == {}


def test_a_removed_hospital_and_one_with_another_key_have_left(made: Consortium) -> None:
    roster = published(ServerFile.load(made.server), "asked").roster.roster
    remove(made.server, "west")
    (made.site("south") / "identity.pem").unlink()
    SigningKey.generate().save(made.site("south") / "identity.pem")
    request = make_request(made.site("south"))
    key = SigningKey.load(made.site("south") / "identity.pem").public
    enrol(made.server, request, words=key.fingerprint, replace="south")
    assert left_of(made.server, roster) == {
        "south": "its key was replaced: publish the study again",
        "west": "it was removed",
    }


def test_a_hospital_that_was_enrolled_after_the_publication_takes_no_part(made: Consortium) -> None:
    roster = published(ServerFile.load(made.server), "asked").roster.roster
    made.enter("east", only(hospital(seed=9)))
    assert left_of(made.server, roster) == {}
    assert "east" not in roster.sites


def test_a_study_that_was_never_published_is_not_run(made: Consortium) -> None:
    with pytest.raises(StudyError, match="no study 'other' was published here") as caught:
        run_study(made.server, "other")
    assert "published: asked" in caught.value.advice


def test_a_changed_bundle_is_not_run(made: Consortium) -> None:
    path = made.server / "studies" / "asked" / "asked.wardround"
    path.write_bytes(path.read_bytes().replace(b"rounds = 3", b"rounds = 9"))
    with pytest.raises(TrustError):
        run_study(made.server, "asked")


def test_a_second_start_is_refused_while_another_process_runs_one(made: Consortium) -> None:
    holder = (
        "import sys\nfrom pathlib import Path\nfrom wardround.common.durable import exclusive\n"
        f"with exclusive(Path(sys.argv[1]) / {LOCK!r}):\n    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    line = [sys.executable, "-c", holder, str(made.server)]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        assert is_running(made.server)
        with pytest.raises(StudyError, match="is running already"):
            run_study(made.server, "asked")
        process.communicate(b"")
    assert not is_running(made.server)


def test_a_finished_study_is_not_run_again(made: Consortium) -> None:
    run = made.server / "studies" / "asked" / "run"
    run.mkdir()
    (run / "results.json").write_text("{}", encoding="utf-8")
    with pytest.raises(StudyError, match="study asked is finished"):
        run_study(made.server, "asked")
    with exclusive(made.server / LOCK):
        pass  # the refusal let go of the lock


def test_the_command_says_what_was_published(made: Consortium) -> None:
    said = command("server", "start", made.server, "other")
    assert (said.code, said.out) == (8, "")
    assert "published: asked" in said.err
    assert command("server", "start", made.server, "asked", "--wait", "0").code == 2


def test_a_start_ends_with_the_process_that_its_environment_names(made: Consortium) -> None:
    begin = (
        "import os, subprocess, sys\n"
        "line = [sys.executable, '-m', 'wardround', 'server', 'start', sys.argv[1], 'asked']\n"
        "started = subprocess.Popen(line, env={**os.environ, 'WARDROUND_PARENT': str(os.getpid())})\n"
        "print(started.pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    line = [sys.executable, "-c", begin, str(made.server)]
    with subprocess.Popen(
        line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=os.environ
    ) as parent:
        assert parent.stdout is not None
        started = int(parent.stdout.readline())
        until(lambda: is_running(made.server))
        parent.kill()
        killed = time.monotonic()
    until(lambda: not alive(started))
    assert time.monotonic() - killed < 30  # without a SuperLink it ends by itself, after a minute
