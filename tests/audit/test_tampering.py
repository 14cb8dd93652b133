"""Whatever a stranger, the coordinator, a hospital or several of them change in a finished study, an audit notices.

Every tampering starts from an honest record of a real study and ends in files whose manifest fits. A log that somebody
re-signs is signed anew as a whole; where all cosign, the sites cosign the false log too, so that only arithmetic and
the sites' own words are left to find it.
"""

import random
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest
from tests.auditing import NAMES, Record, finished, judged, ledger_of, with_manifest
from tests.lies import LIES, Lie, claim_a_little_too_large, ledger_rolled_back
from tests.studies import joint_protocol, private_protocol

from wardround.common.audit.verdicts import REFUTED, exit_code
from wardround.common.errors import WardroundError
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.reader import loads
from wardround.common.trust.identity import SigningKey

STUDIES: dict[str, StudyProtocol] = {
    "joint": joint_protocol(rounds=3, attempts=2),
    "site": private_protocol(rounds=3, attempts=2),
}
NEED_A_LEDGER: tuple[Lie, ...] = (ledger_rolled_back, claim_a_little_too_large)
FEW, MANY = 160, 1200

Tamper = Callable[[Record, random.Random, Path], Path]


@cache
def record(mechanism: str) -> Record:
    """An honest record, made once per process."""
    return finished(Path(mkdtemp(prefix=f"audit-{mechanism}-")), STUDIES[mechanism])


def noticed(folder: Path) -> bool:
    """Whether an audit of the bundle ends with a refuted claim."""
    return exit_code(judged(folder)) == REFUTED


def edited(folder: Path, name: str, change: Callable[[bytes], bytes], honest: Record) -> Path:
    """Change the bytes of a file of an honest bundle; the manifest is written anew."""
    honest.hand_over(folder)
    path = folder / name
    path.write_bytes(change(path.read_bytes()))
    return with_manifest(folder, honest.protocol)


def lines_of(data: bytes) -> list[bytes]:
    return data.splitlines(keepends=True)


def any_file(honest: Record, draw: random.Random) -> str:
    """A file of the bundle; logs as often as all the others."""
    logs = ["study-log.jsonl", "checkpoints.jsonl", *map(ledger_of, NAMES)]
    others = [name for name in honest.files if name not in ("results.json", *logs)]
    return draw.choice(draw.choice([logs, sorted(others)]))


def bit_flip(honest: Record, draw: random.Random, folder: Path) -> Path:
    name = any_file(honest, draw)

    def flipped(data: bytes) -> bytes:
        place = draw.randrange(len(data))
        return data[:place] + bytes([data[place] ^ (1 << draw.randrange(8))]) + data[place + 1 :]

    def change(data: bytes) -> bytes:
        found = flipped(data)
        while name == "study.toml" and same_study(found, honest):
            found = flipped(data)  # such as 1e-05 written 1E-05: the very same protocol
        return found

    return edited(folder, name, change, honest)


def same_study(data: bytes, honest: Record) -> bool:
    try:
        return loads(data.decode(), "study.toml").digest == honest.protocol.digest
    except (WardroundError, ValueError):
        return False


def byte_lost(honest: Record, draw: random.Random, folder: Path) -> Path:
    """A file cut short at any byte."""
    name = any_file(honest, draw)
    return edited(folder, name, lambda data: data[: draw.randrange(len(data))], honest)


def line_deleted(honest: Record, draw: random.Random, folder: Path) -> Path:
    def change(data: bytes) -> bytes:
        lines = lines_of(data)
        del lines[draw.randrange(len(lines))]
        return b"".join(lines)

    return edited(folder, "study-log.jsonl", change, honest)


def lines_swapped(honest: Record, draw: random.Random, folder: Path) -> Path:
    def change(data: bytes) -> bytes:
        lines = lines_of(data)
        one, two = draw.sample(range(len(lines)), 2)
        lines[one], lines[two] = lines[two], lines[one]
        return b"".join(lines)

    return edited(folder, "study-log.jsonl", change, honest)


def line_inserted(honest: Record, draw: random.Random, folder: Path) -> Path:
    def change(data: bytes) -> bytes:
        lines = lines_of(data)
        lines.insert(draw.randrange(len(lines) + 1), draw.choice(lines))
        return b"".join(lines)

    return edited(folder, "study-log.jsonl", change, honest)


def truncated(honest: Record, draw: random.Random, folder: Path) -> Path:
    return edited(
        folder,
        "study-log.jsonl",
        lambda data: b"".join(lines_of(data)[: draw.randrange(1, len(honest.lines))]),
        honest,
    )


def file_missing(honest: Record, draw: random.Random, folder: Path) -> Path:
    """A file is gone, and the manifest still lists it."""
    honest.hand_over(folder)
    (folder / draw.choice([*sorted(honest.files), "checkpoints.jsonl"])).unlink()
    return folder


def file_changed_under_its_manifest(honest: Record, draw: random.Random, folder: Path) -> Path:
    honest.hand_over(folder)
    path = folder / draw.choice(sorted(honest.files))
    path.write_bytes(path.read_bytes() + b" ")
    return folder


def rolled_back(honest: Record, draw: random.Random, folder: Path) -> Path:
    """Log, checkpoints and final model of an earlier moment, all of them genuine."""
    kept = draw.randrange(5, len(honest.lines) - 1)
    return replace(honest, lines=honest.lines[:kept], sizes=tuple(range(3, kept + 1))).hand_over(folder)


def signed_by_an_insider(honest: Record, draw: random.Random, folder: Path) -> Path:
    """A hospital, or somebody unknown, signs a changed log as if it were the coordinator."""
    signer = draw.choice([*(honest.keys[name] for name in NAMES), SigningKey.generate()])
    return some_lie(honest, draw).hand_over(folder, signer=signer)


def lied_by_the_coordinator(honest: Record, draw: random.Random, folder: Path) -> Path:
    """The coordinator signs a false log; checkpoints carry its signature alone, or those of too few sites."""
    few = tuple(draw.sample(NAMES, draw.randrange(3)))
    return replace(some_lie(honest, draw), cosigners=few).hand_over(folder)


def lied_and_all_cosign(honest: Record, draw: random.Random, folder: Path) -> Path:
    lie = draw.choice(LIES)
    lied = lie(honest, draw)
    return (lied if lie in NEED_A_LEDGER else without_memory(lied)).hand_over(folder)


def without_memory(lied: Record) -> Record:
    """The record where hospitals hand over nothing: no ledger and no word of theirs remembers another log."""
    own = ("ledgers/", "witness/", "approvals/")
    return replace(lied, files={name: data for name, data in lied.files.items() if not name.startswith(own)})


def some_lie(honest: Record, draw: random.Random) -> Record:
    return draw.choice(LIES)(honest, draw)


TAMPERINGS: tuple[Tamper, ...] = (
    bit_flip,
    byte_lost,
    line_deleted,
    lines_swapped,
    line_inserted,
    truncated,
    file_missing,
    file_changed_under_its_manifest,
    rolled_back,
    signed_by_an_insider,
    lied_by_the_coordinator,
    lied_and_all_cosign,
)


@pytest.mark.parametrize("mechanism", sorted(STUDIES))
def test_an_honest_record_is_not_refuted(mechanism: str, tmp_path: Path) -> None:
    told, keys = record(mechanism), tmp_path / "own.json"
    keys.write_bytes(told.files["roster.json"])
    findings = judged(told.hand_over(tmp_path / "bundle"), keys)
    assert [one for one in findings if one.verdict == "refuted"] == []
    assert sum(one.verdict == "confirmed" for one in findings) > 25


@pytest.mark.parametrize("mechanism", sorted(STUDIES))
@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
def test_each_lie_is_found_even_where_everybody_cosigns_it(mechanism: str, lie: Lie, tmp_path: Path) -> None:
    lied = lie(record(mechanism), random.Random(1))  # noqa: S311
    shown = lied if lie in NEED_A_LEDGER else without_memory(lied)
    assert noticed(shown.hand_over(tmp_path / "bundle"))


def missed(count: int, folder: Path) -> list[str]:
    """Tamperings that no audit noticed, of so many drawn at random; each kind in turn."""
    found = []
    for number in range(count):
        draw = random.Random(number)  # noqa: S311  (the same ones every time)
        tamper, mechanism = TAMPERINGS[number % len(TAMPERINGS)], draw.choice(sorted(STUDIES))
        if not noticed(tamper(record(mechanism), draw, folder / "bundle")):
            found.append(f"{number}: {tamper.__name__} of {mechanism}")
    return found


def test_no_tampering_of_some_dozens_is_missed(tmp_path: Path, quick_disk: None) -> None:
    assert missed(FEW, tmp_path) == []


@pytest.mark.slow
def test_no_tampering_of_more_than_a_thousand_is_missed(tmp_path: Path, quick_disk: None) -> None:
    assert missed(MANY, tmp_path) == []
