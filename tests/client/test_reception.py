"""The reception of a hospital: the right study for each message, nothing without approval, no full disk."""

import json
import multiprocessing
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from tests.consortia import NOISE, Consortium, asked
from tests.studies import RUN

from wardround.client import reception as module
from wardround.client.approvals import APPROVAL
from wardround.client.approving import approve
from wardround.client.joining import CONSORTIUM
from wardround.client.reception import Reception, site_for
from wardround.client.refusals import REFUSALS, SHARE
from wardround.client.revoking import revoke
from wardround.common.durable import LockedError
from wardround.common.errors import TrustError, WardroundError
from wardround.common.formats import digest
from wardround.common.learning.models import initial
from wardround.common.learning.parameters import to_bytes
from wardround.common.study.protocol import StudyProtocol
from wardround.common.trust.envelope import Header, claimed_digest, open_envelope, seal
from wardround.common.trust.identity import SigningKey

FIRST, SECOND = asked("first"), asked("second", rounds=2)
WIDTH = 11


@pytest.fixture
def made(tmp_path: Path) -> Consortium:
    found = Consortium(tmp_path, names=("north", "south"))
    for protocol in (FIRST, SECOND):
        found.approve("north", protocol)
    return found


def task(
    made: Consortium, protocol: StudyProtocol, round_: int = 1, attempt: int = 1, to: str = "north"
) -> bytes:
    model = to_bytes(initial(protocol, WIDTH))
    return made.message("task", protocol, to, model, round=round_, attempt=attempt, base_model=digest(model))


def kind(made: Consortium, message: bytes) -> str:
    """The kind of the answer, whose signature is checked."""
    reply = Reception(made.site("north")).answer(message)
    roster = approve(made.site("north"), made.bundle(FIRST)).approval.roster
    return open_envelope(reply, roster, receiver="coordinator", sender="north").header.kind


def refusals(made: Consortium) -> list[dict[str, object]]:
    path = made.site("north") / REFUSALS
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_each_message_finds_its_own_study(made: Consortium) -> None:
    for protocol in (FIRST, SECOND):
        reply = Reception(made.site("north")).answer(made.message("roll-call", protocol, "everyone"))
        assert claimed_digest(reply) == protocol.digest
        assert kind(made, task(made, protocol)) == "update"


def test_the_same_task_gets_the_same_bytes_from_another_process(made: Consortium) -> None:
    message = task(made, FIRST)
    first = Reception(made.site("north")).answer(message)
    assert Reception(made.site("north")).answer(message) == first


def test_flower_is_given_the_reception_whatever_it_says(made: Consortium) -> None:
    with site_for(made.site("north"))(None) as answers:  # type: ignore[arg-type]  # nothing of a context is read
        assert claimed_digest(answers.answer(task(made, SECOND))) == SECOND.digest


def test_a_changed_protocol_under_an_approved_name_is_not_answered(made: Consortium) -> None:
    changed = replace(FIRST, privacy=replace(NOISE, noise_multiplier=1.0))
    with pytest.raises(TrustError, match="never approved"):
        Reception(made.site("north")).answer(task(made, changed))
    (line,) = refusals(made)
    assert line["source"] == "reception"
    assert changed.digest[:16] in str(line["reason"])


def test_a_stranger_is_not_answered(made: Consortium) -> None:
    fields = Header(
        kind="roll-call",
        study="first",
        protocol_digest=FIRST.digest,
        run=RUN,
        round=0,
        attempt=0,
        sender="coordinator",
        receiver="everyone",
        base_model=digest(b""),
    )
    with pytest.raises(TrustError, match="signature"):
        Reception(made.site("north")).answer(seal(SigningKey.generate(), fields, b""))


@pytest.mark.parametrize(
    "data", [b"", b"rubbish", b"{}\n" + b"x" * 64, b'{"protocol_digest":"../.."}\n' + b"x" * 64]
)
def test_rubbish_is_noted_and_not_answered(made: Consortium, data: bytes) -> None:
    with pytest.raises(TrustError):
        Reception(made.site("north")).answer(data)
    assert len(refusals(made)) == 1


def test_a_flood_does_not_fill_the_disk(made: Consortium) -> None:
    reception = Reception(made.site("north"))
    for number in range(SHARE["reception"] + 30):
        with pytest.raises(WardroundError):
            reception.answer(b"rubbish %d" % number)
    assert len(refusals(made)) == SHARE["reception"]


def test_a_revoked_study_declines_and_says_no_more(made: Consortium) -> None:
    assert kind(made, task(made, SECOND)) == "update"
    revoke(made.site("north"), "second")
    assert kind(made, task(made, SECOND, 2)) == "declined"
    assert kind(made, task(made, SECOND)) == "declined"  # not even what was sent before
    assert "revoked" in str(refusals(made)[-1]["reason"])
    assert kind(made, task(made, FIRST)) == "update"


def test_an_approval_restored_from_before_the_last_one_declines(made: Consortium) -> None:
    # Approved, withdrawn, approved again; then yesterday's folder of approvals comes back, with yesterday's patients.
    approvals, kept = made.site("north") / "approvals", made.root / "yesterday"
    shutil.copytree(approvals, kept)
    revoke(made.site("north"), "second")
    made.approve("north", SECOND)
    assert kind(made, task(made, SECOND)) == "update"
    shutil.rmtree(approvals)
    shutil.copytree(kept, approvals)
    assert kind(made, task(made, SECOND, 2)) == "declined"
    assert "approved again later" in str(refusals(made)[-1]["reason"])
    assert kind(made, task(made, FIRST)) == "update"


def test_a_policy_that_was_tightened_since_declines(made: Consortium) -> None:
    made.edit("north", "# purposes", 'purposes = ["care"] # ')
    reply = Reception(made.site("north")).answer(task(made, FIRST))
    roster = json.loads((made.site("north") / "approvals" / FIRST.digest / APPROVAL).read_text())["roster"]
    assert roster["coordinator"]["name"] == "coordinator"
    assert b'"kind":"declined"' in reply
    assert "purpose" in str(refusals(made)[-1]["reason"])


def test_a_finished_study_declines_further_tasks(made: Consortium) -> None:
    assert kind(made, made.message("finish", SECOND, "north")) == "finished"
    assert kind(made, task(made, SECOND)) == "declined"


def test_frozen_patients_that_were_changed_are_not_trained_on(made: Consortium) -> None:
    (cohort,) = (made.site("north") / "approvals" / FIRST.digest).glob("cohort-*.npz")
    data = bytearray(cohort.read_bytes())
    data[-200] ^= 1
    cohort.write_bytes(data)
    assert kind(made, task(made, FIRST)) == "declined"
    assert "does not hold the patients" in str(refusals(made)[-1]["reason"])


def test_without_an_approval_file_nothing_runs(made: Consortium) -> None:
    (made.site("north") / "approvals" / FIRST.digest / APPROVAL).unlink()
    with pytest.raises(TrustError, match="never approved"):
        Reception(made.site("north")).answer(task(made, FIRST))


def test_an_approval_for_a_coordinator_that_is_no_longer_pinned_does_not_count(
    made: Consortium, tmp_path: Path
) -> None:
    path = made.site("north") / CONSORTIUM
    other = Consortium(tmp_path / "other", names=("x",))
    text = path.read_text().replace(made.key.public.encode(), other.key.public.encode())
    path.write_text(text)
    with pytest.raises(TrustError, match="does not know any more"):
        Reception(made.site("north")).answer(task(made, FIRST))


def hold(folder: Path, ready: object, refused: object) -> None:
    from wardround.client.office import Office

    with Office.load(folder).ledger():
        ready.set()  # type: ignore[attr-defined]
        refused.wait(20)  # type: ignore[attr-defined]
        time.sleep(0.3)


def test_it_waits_for_a_command_that_has_the_ledger_open(made: Consortium) -> None:
    context = multiprocessing.get_context("fork")
    ready, refused = context.Event(), context.Event()
    holder = context.Process(target=hold, args=(made.site("north"), ready, refused))
    holder.start()
    assert ready.wait(20)
    with pytest.raises(LockedError):
        Reception(made.site("north"), patience=0.1).answer(task(made, FIRST))
    refused.set()
    assert kind(made, task(made, FIRST)) == "update"
    holder.join(20)


def test_it_reads_no_table_and_imports_no_reader_of_tables() -> None:
    ask = f"import sys; import {module.__name__}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    assert {"pandas", "pyarrow", "flwr.supercore"} & set(done.stdout.split()) == set()
    assert "torch" in done.stdout.split()
