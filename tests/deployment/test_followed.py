"""A study of real processes, watched while it runs: through the log service of `server up`, by a witness's command."""

import json
import sys
from pathlib import Path

import pytest
from tests.deployment.promises import counted
from tests.deployment.wards import Ward, ward
from tests.flowerline import free_port, until

from wardround import cli
from wardround.common.trust.checkpointfile import COSIGNATURES
from wardround.common.trust.identity import SigningKey
from wardround.common.trust.signed import utc_now
from wardround.common.trust.words import spoken
from wardround.server.coordinator import LOG
from wardround.server.doctor import findings
from wardround.server.serverfile import FILE, ServerFile

pytestmark = pytest.mark.slow
NAME = "State Commissioner"
ROUNDS = 6


def with_a_log_service(made: Ward) -> None:
    """As a person adds it to a coordinator that has none."""
    with (made.server.folder / FILE).open("a", encoding="utf-8") as file:
        file.write(f"log_port = {free_port()}\n")
    made.server = ServerFile.load(made.server.folder)


def let_in(made: Ward, folder: Path) -> None:
    """A witness is let in by the two commands, as an auditor at another place."""
    assert cli.main(["audit", "request", str(folder), "--name", NAME]) == 0
    words = spoken(SigningKey.load(folder / "identity.pem").public.fingerprint)
    given = ["server", "witness", str(made.server.folder), str(folder / "request.json")]
    assert cli.main([*given, "--words", words, "--out", str(folder / "pass.json")]) == 0
    (folder / "hub.pem").write_bytes(made.server.key().public.pem())


def test_a_witness_sees_a_study_grow_and_cosigns_it_to_the_end(tmp_path: Path) -> None:
    with ward(tmp_path / "ward", counted("first")) as made:
        folder = tmp_path / "witness"
        with_a_log_service(made)
        let_in(made, folder)
        made.up()
        states = {one.check: one.state for one in findings(made.server.folder, now=utc_now)}
        assert (states["port"], states["log port"]) == ("fine", "fine")

        name = made.agree(counted("followed", rounds=ROUNDS, local_steps=200))
        process = made.start(name)
        made.at_round(name, 1)
        words = ["audit", "witness", made.server.log_address, "--keys", str(folder / "hub.pem")]
        witness = made.spawn("witness", [sys.executable, "-m", "wardround", *words, "--state", str(folder)])
        copy = folder / name / "study-log.jsonl"
        until(lambda: copy.exists() and copy.read_bytes() != b"", witness)
        seen_live = process.poll() is None
        made.finish(name, process)

        log = (made.server.studies / name / "federation" / LOG).read_bytes()
        until(lambda: copy.read_bytes() == log, witness)
        fingerprint = SigningKey.load(folder / "identity.pem").public.fingerprint
        cosigned = made.server.studies / name / "federation" / COSIGNATURES
        until(lambda: sizes(cosigned, fingerprint)[-1:] == [len(log.splitlines())], witness)
        assert len(sizes(cosigned, fingerprint)) > 1
        assert seen_live, "the study was over before the witness had read a round"
        assert witness.poll() is None, made.said("witness")


def sizes(path: Path, fingerprint: str) -> list[int]:
    """How many lines each note speaks of that a witness cosigned."""
    lines = path.read_text(encoding="utf-8").splitlines()[1:] if path.exists() else []
    notes = [json.loads(line)["note"] for line in lines]
    return [int(note.splitlines()[1]) for note in notes if fingerprint in note]
