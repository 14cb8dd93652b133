"""Checkpoints: a log that was rewritten, forked or shown to too few is found, whoever signed it."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest
from tests.auditing import NAMES, NOW, Record, finished, judged, refuted, with_manifest
from tests.studies import private_protocol

from wardround.common.audit.bundling import file_name
from wardround.common.trust.checkpoint import cosign
from wardround.common.trust.checkpointfile import CHECKPOINTS, COSIGNATURES, HEAD, checkpoint_line, read_line
from wardround.common.trust.identity import SigningKey
from wardround.common.trust.merkle import Tree
from wardround.common.trust.statement import sign_statement

QUORUM = "a quorum of sites verified and cosigned the log up to its result"
MEMORY = "the log is the one that the hospital says it cosigned"
CONSISTENT = "every checkpoint is the coordinator's, of this log as it stands"


@cache
def record() -> Record:
    """An honest record whose study needs two of three sites, made once per process."""
    return finished(Path(mkdtemp(prefix="audit-tree-")), private_protocol(rounds=2, quorum=2))


def test_cosignatures_of_the_quorum_are_enough(tmp_path: Path) -> None:
    assert refuted(replace(record(), cosigners=NAMES[:2]).hand_over(tmp_path / "bundle")) == {}


@pytest.mark.parametrize("count", [0, 1])
def test_cosignatures_of_fewer_than_the_quorum_are_not_enough(tmp_path: Path, count: int) -> None:
    found = refuted(replace(record(), cosigners=NAMES[:count]).hand_over(tmp_path / "bundle"))
    assert list(found) == [QUORUM]
    assert "2 sites cosigned 0 lines" in found[QUORUM]


def test_cosignatures_that_end_before_the_result_are_not_enough(tmp_path: Path) -> None:
    sizes = tuple(range(3, len(record().lines) - 1))
    assert list(refuted(replace(record(), sizes=sizes).hand_over(tmp_path / "bundle"))) == [QUORUM]


def test_a_log_rewritten_after_it_was_cosigned_is_found(tmp_path: Path) -> None:
    honest = record().hand_over(tmp_path / "honest")
    cosigned = (honest / "checkpoints.jsonl").read_bytes()
    # The coordinator rewrites what nothing else binds, and signs its whole log anew.
    place = record().at("round")
    slipped_in = ("members", {"round": 1, "attempt": 1, "left": {}})
    lines = (*record().lines[:place], slipped_in, *record().lines[place:])
    rewritten = replace(record(), lines=lines, sizes=()).hand_over(tmp_path / "bundle")
    (rewritten / "checkpoints.jsonl").write_bytes(cosigned)
    with_manifest(rewritten, record().protocol)
    assert "another root" in refuted(rewritten)[CONSISTENT]


def test_a_checkpoint_of_more_lines_than_there_are_says_that_lines_are_missing(tmp_path: Path) -> None:
    bundle = record().hand_over(tmp_path / "bundle")
    log = bundle / "study-log.jsonl"
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:-2]))
    with_manifest(bundle, record().protocol)
    assert "lines are missing" in refuted(bundle)[CONSISTENT]


def test_a_cosignature_of_another_checkpoint_is_refused(tmp_path: Path) -> None:
    bundle = record().hand_over(tmp_path / "bundle")
    path = bundle / "checkpoints.jsonl"
    *kept, before, last = path.read_bytes().splitlines()
    one, two = (read_line(line, where="a test") for line in (before, last))
    assert one is not None
    assert two is not None
    stolen = cosign(record().keys["north"], one.checkpoint, time=NOW)
    bare = replace(two, signatures=(two.signatures[0], stolen, *two.signatures[2:]))
    path.write_bytes(b"".join(line + b"\n" for line in (*kept, before, checkpoint_line(bare))))
    with_manifest(bundle, record().protocol)
    assert "signature does not belong" in refuted(bundle)[CONSISTENT]


def test_an_honest_log_names_its_cosigners(tmp_path: Path) -> None:
    bundle, keys = record().hand_over(tmp_path / "bundle"), tmp_path / "roster.json"
    keys.write_bytes((bundle / "roster.json").read_bytes())
    (found,) = (one for one in judged(bundle, keys) if one.claim == QUORUM)
    assert (found.verdict, found.found) == (
        "confirmed",
        f"{len(record().lines) - 1} lines, by north, south, west",
    )


def with_memory(size: int, root: str, site: str = "north") -> Record:
    """The record with a site's own statement of what it cosigned last."""
    digest = record().protocol.digest
    logs = {record().run: {"size": size, "root": root}}
    said = {"site": site, "study": "small", "protocol": digest, "logs": logs}
    statement = sign_statement(record().keys["north"], "witness", said)
    return record().with_file(f"witness/{file_name('north')}.json", statement)


def test_a_hospitals_own_memory_of_the_log_is_compared(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    folder.mkdir()
    root = Tree(entry.line for entry in record().log(folder)).root(4).hex()
    (tmp_path / "north.pem").write_bytes(record().keys["north"].public.pem())
    findings = judged(with_memory(4, root).hand_over(tmp_path / "bundle"), tmp_path / "north.pem")
    (found,) = (one for one in findings if one.claim == MEMORY and one.where == "north")
    assert (found.verdict, found.found) == ("confirmed", "4 lines")
    for size, other in ((4, "0" * 64), (5, root), (4000, root)):
        assert "another log" in refuted(with_memory(size, other).hand_over(tmp_path / "bundle"))[MEMORY]


def test_a_hospital_that_cosigned_nothing_confirms_nothing(tmp_path: Path) -> None:
    findings = judged(with_memory(0, Tree(()).root(0).hex()).hand_over(tmp_path / "bundle"))
    (found,) = (one for one in findings if one.claim == MEMORY and one.where == "north")
    assert found.verdict == "not checkable"


def test_a_cosignature_of_an_outside_witness_refutes_nothing(tmp_path: Path) -> None:
    bundle = record().hand_over(tmp_path / "bundle")
    last = read_line((bundle / CHECKPOINTS).read_bytes().splitlines()[-1], where="a test")
    assert last is not None
    alone = replace(last, signatures=(cosign(SigningKey.generate(), last.checkpoint, time=NOW),))
    (bundle / COSIGNATURES).write_bytes(HEAD + b"\n" + checkpoint_line(alone) + b"\n")
    assert refuted(with_manifest(bundle, record().protocol)) == {}


def test_a_memory_that_another_site_signed_is_refuted(tmp_path: Path) -> None:
    assert (
        "no site's own word"
        in refuted(with_memory(0, "0" * 64, "south").hand_over(tmp_path / "bundle"))[MEMORY]
    )
