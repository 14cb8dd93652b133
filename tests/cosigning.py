"""Reading what was cosigned of a study's log, for tests: every note is checked against the lines themselves."""

import json
from base64 import b64decode
from pathlib import Path

from wardround.common.study.protocol import StudyProtocol
from wardround.common.trust.checkpoint import SignedCheckpoint, origin, verify
from wardround.common.trust.checkpointfile import CHECKPOINTS, merged, read_line
from wardround.common.trust.identity import Roster
from wardround.common.trust.merkle import Tree
from wardround.server.coordinator import LOG


def notes(folder: Path) -> dict[int, SignedCheckpoint]:
    """Size -> the checkpoint of that size, with all its signatures."""
    lines = (folder / CHECKPOINTS).read_bytes().splitlines()
    return merged(one for line in lines if (one := read_line(line, where="a test")) is not None)


def run_of(folder: Path) -> str:
    """The run that the first line of a log names."""
    first = json.loads((folder / LOG).read_bytes().splitlines()[0])
    return str(json.loads(b64decode(first["payload"]))["data"]["run"])


def cosigned(folder: Path, protocol: StudyProtocol, roster: Roster) -> dict[int, set[str]]:
    """Size -> who cosigned it."""
    found = {}
    lines = (folder / LOG).read_bytes().splitlines()
    for size, note in notes(folder).items():
        times = verify(
            note,
            origin=origin(protocol.study.name, protocol.digest, run_of(folder)),
            coordinator=roster.coordinator_key,
            cosigners=roster.sites.values(),
        )
        assert note.checkpoint.root == Tree(lines[:size]).root()
        found[size] = {roster.name_of(one) for one in times}
    return found
