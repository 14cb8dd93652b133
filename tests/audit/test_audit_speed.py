"""An audit of a long log takes seconds, and starting one needs no heavy library."""

import time
from pathlib import Path

from tests.auditing import NOW, base_install, with_manifest
from tests.studies import RUN, keys_and_roster, private_protocol

from wardround.common.audit.verify import verify
from wardround.common.formats import digest
from wardround.common.learning.exchange import Receipt
from wardround.common.study.reader import dumps
from wardround.common.trust import studylog
from wardround.common.trust.checkpoint import Checkpoint, origin, sign
from wardround.common.trust.checkpointfile import HEAD, checkpoint_line
from wardround.common.trust.envelope import Header, head_of, seal
from wardround.common.trust.identity import SigningKey
from wardround.common.trust.merkle import Tree
from wardround.common.trust.signed import text_of, timestamp
from wardround.common.trust.studylog import LogEntry

LINES = 10_000
SITE = "north"

SIGNED = "each site signed what the log says of its updates and charges"


def long_log(folder: Path) -> Path:
    """A bundle whose log has thousands of rounds, each with the signed head of a site."""
    keys, roster = keys_and_roster(SITE, "south")
    protocol = private_protocol(rounds=LINES, quorum=1)
    model = digest(b"model")
    lines: list[tuple[str, dict[str, object]]] = [
        ("protocol", {"digest": protocol.digest, "name": protocol.study.name, "run": RUN}),
        ("roster", roster.to_dict()),
    ]
    for number in range(1, LINES - 1):
        receipt = Receipt(event=protocol.event(), ledger_seq=2 * number, ledger_head=digest(b"%d" % number))
        fields = Header(
            kind="update",
            study=protocol.study.name,
            protocol_digest=protocol.digest,
            run=RUN,
            round=number,
            attempt=1,
            sender=SITE,
            receiver="coordinator",
            base_model=model,
            receipt=receipt.digest,
        )
        reply = seal(keys[SITE], fields, b"%d" % number)
        word = {"update": digest(b"%d" % number), **receipt.to_dict(), "head": text_of(head_of(reply))}
        word["reply"] = digest(reply)
        moment = {"round": number, "attempt": 1, "base_model": model, "result_model": model}
        lines.append(("round", {**moment, "sites": {SITE: word, "south": {"refused": "no reply"}}}))
    before: LogEntry | None = None
    written = []
    for kind, data in lines:
        before = studylog._sign(keys["coordinator"], before, kind, timestamp(NOW), data)
        written.append(before.line)
    tree, notes, name = Tree(written), [HEAD], origin(protocol.study.name, protocol.digest, RUN)
    for size in range(3, LINES + 1):
        checkpoint = Checkpoint(origin=name, size=size, root=tree.root(size))
        notes.append(checkpoint_line(sign(keys["coordinator"], checkpoint)))
    folder.mkdir()
    (folder / "study-log.jsonl").write_bytes(b"".join(line + b"\n" for line in written))
    (folder / "checkpoints.jsonl").write_bytes(b"".join(note + b"\n" for note in notes))
    (folder / "study.toml").write_text(dumps(protocol))
    return with_manifest(folder, protocol)


def signatures_alone() -> float:
    """Processor seconds of the two signatures of each line, which nothing can leave out."""
    key, asked = SigningKey.generate(), 500
    message = b"head" * 64
    signed = key.sign("head", message)
    began = time.process_time()
    for _ in range(asked):
        key.public.verify("head", message, signed)
    return (time.process_time() - began) * 2 * LINES / asked


def test_ten_thousand_lines_take_four_times_as_long_as_their_signatures_at_most(tmp_path: Path) -> None:
    bundle = long_log(tmp_path / "bundle")
    began = time.process_time()
    case, findings = verify((bundle,))
    took = time.process_time() - began
    assert case is not None
    assert len(case.entries) == LINES
    (signed,) = (one for one in findings if one.claim == SIGNED)
    assert f"{LINES - 2} heads fit keys that only the bundle names" in signed.found
    assert took < 4 * signatures_alone()  # measured: 2.3 to 2.6 times, 6 to 9 s


def test_an_auditor_starts_in_a_second_without_torch_flower_or_pandas() -> None:
    done = base_install("audit", "verify", "--help")
    assert done.code == 0, done.err
    assert "--keys" in done.out
    assert done.seconds < 1.0
