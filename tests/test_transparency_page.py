"""docs/transparency-log.md: whoever has `sh` and `openssl` and nothing of ours checks one entry as the page says."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.enrolling import key
from tests.logs import PROTOCOL, STUDY, Writer
from tests.studies import RUN

from wardround.common.durable import append_line
from wardround.common.trust.checkpoint import cosign, origin
from wardround.common.trust.checkpointfile import checkpoint_line
from wardround.common.trust.signed import utc_now

PAGE = Path(__file__).resolve().parent.parent / "docs" / "transparency-log.md"
STEPS = re.findall(
    r"^<!-- run -->\n```sh\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
)
COORDINATOR, HOSPITAL = key(9), key(1)

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")


def make(tmp_path: Path, size: int) -> Path:
    """A log of some lines, its checkpoint, and one hospital's cosignature."""
    made = Writer(tmp_path, COORDINATOR)
    made.add(size - 1)
    signed = made.sign()
    both = signed.with_signatures([cosign(HOSPITAL, signed.checkpoint, time=utc_now())])
    append_line(tmp_path / "checkpoints.jsonl", checkpoint_line(both))
    made.add(2)  # lines that no checkpoint covers yet
    return tmp_path


def by_hand(folder: Path, steps: list[str]) -> "subprocess.CompletedProcess[str]":
    """The steps as one script for `sh`, with the two keys as base64."""
    keys = {
        "COORDINATOR_KEY": COORDINATOR.public.encode(),
        "HOSPITAL_KEY": HOSPITAL.public.encode(),
        "PATH": os.environ["PATH"],
    }
    script = "set -e\n" + "\n".join(steps)
    return subprocess.run(
        ["sh", "-c", script], cwd=folder, env=keys, capture_output=True, text=True, check=False, timeout=120
    )


@pytest.mark.parametrize("size", [3, 8, 13])
def test_every_step_of_the_page_passes(tmp_path: Path, size: int) -> None:
    assert len(STEPS) == 5
    bundle = make(tmp_path, size)
    done = by_hand(bundle, STEPS)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split("\n") == [
        COORDINATOR.public.fingerprint,
        "Signature Verified Successfully",
        "Signature Verified Successfully",
        f"the checkpoint is of run {RUN}",
        "the root covers line 3",
        "Signature Verified Successfully",
        "",
    ]
    assert b'"kind":"round"' in (bundle / "payload").read_bytes()


@pytest.mark.parametrize(
    ("name", "step"),
    [("entry", 1), ("checkpoint", 2), ("line", 3), ("order", 3), ("cosignature", 4)],
)
def test_a_step_fails_where_something_was_changed(tmp_path: Path, name: str, step: int) -> None:
    bundle = make(tmp_path, 5)
    log, notes = bundle / "study-log.jsonl", bundle / "checkpoints.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    note = notes.read_bytes().splitlines(keepends=True)[-1]
    at = lines[2].index(b'"payload":"') + 40
    if name == "entry":
        lines[2] = lines[2][:at] + (b"A" if lines[2][at : at + 1] != b"A" else b"B") + lines[2][at + 1 :]
    elif name == "checkpoint":
        note = note.replace(b"\\n%d\\n" % (len(lines) - 2), b"\\n%d\\n" % (len(lines) - 1), 1)
    elif name == "line":
        lines[1] = lines[1].replace(b"=", b"", 1)
    elif name == "order":
        lines[1], lines[2] = lines[2], lines[1]
    else:
        end = note.rindex(b"=")
        note = note[: end - 20] + (b"A" if note[end - 20 : end - 19] != b"A" else b"B") + note[end - 19 :]
    log.write_bytes(b"".join(lines))
    notes.write_bytes(note)
    assert by_hand(bundle, STEPS[:step]).returncode == 0
    assert by_hand(bundle, STEPS[: step + 1]).returncode != 0


def test_a_checkpoint_of_another_run_is_not_one_of_this_log(tmp_path: Path) -> None:
    made = Writer(tmp_path, COORDINATOR)
    made.add(4)
    made.origin = origin(STUDY, PROTOCOL, RUN[::-1])
    made.sign()
    done = by_hand(tmp_path, STEPS[:3])
    assert (done.returncode, "checkpoint is of run" in done.stdout) == (1, False)
