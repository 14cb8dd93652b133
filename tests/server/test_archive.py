"""The archive of replies: what the log names is there before the log names it, byte for byte, also after a crash."""

import base64
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.crashes import distinct_crash_points
from tests.studies import (
    joint_protocol,
    open_sites,
    private_protocol,
    roster_of,
    small_federation,
    small_protocol,
)

from wardround.common.errors import StorageError
from wardround.common.formats import digest
from wardround.common.learning.exchange import TASK, unpack_update
from wardround.common.learning.parameters import parameters_digest, to_bytes
from wardround.common.study.protocol import StudyProtocol
from wardround.common.trust.envelope import open_envelope, open_head
from wardround.common.trust.studylog import LogEntry, read_own_log
from wardround.common.trust.sumroster import SumContext
from wardround.common.trust.sumround import recompute_sum
from wardround.common.trust.sumwire import unpack_messages
from wardround.server.archive import Archive
from wardround.server.coordinator import LOG
from wardround.simulations.federation import (
    Federation,
    begin,
    coordinator_key,
    coordinator_of,
    run_federation,
)

NAMES = ("east", "north", "south")


def ran(root: Path, protocol: StudyProtocol, names: tuple[str, ...] = NAMES) -> Federation:
    made = small_federation(root, protocol, names=names)
    run_federation(made)
    return made


def rounds(made: Federation) -> Iterator[tuple[LogEntry, Mapping[str, Any]]]:
    if not (made.folder / LOG).exists():
        return
    for entry in read_own_log(made.folder / LOG, coordinator_key(made.folder).public):
        if entry.kind == "round":
            yield entry, entry.data["sites"]  # type: ignore[misc]


def files(made: Federation) -> dict[str, bytes]:
    root = made.folder / "archive"
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_every_update_that_counted_is_kept_verbatim_under_the_digest_in_the_log(tmp_path: Path) -> None:
    made = ran(tmp_path, private_protocol())
    roster, kept = roster_of(made), files(made)
    for entry, sites in rounds(made):
        for site, said in sites.items():
            reply = kept.pop(f"{entry.data['round']}-{entry.data['attempt']}/{said['reply']}.envelope")
            assert digest(reply) == said["reply"]
            envelope = open_envelope(reply, roster, sender=site, round=entry.data["round"])  # type: ignore[arg-type]
            receipt, _ = unpack_update(envelope.body)
            head = base64.b64decode(said["head"])
            assert reply.startswith(head)
            assert open_head(head, roster).body_digest == said["update"] == envelope.body_digest
            assert (receipt.ledger_seq, receipt.ledger_head) == (said["ledger_seq"], said["ledger_head"])
    assert kept == {}


def test_a_stranger_recomputes_every_sum_of_joint_noise_from_the_archive(tmp_path: Path) -> None:
    made = ran(tmp_path, joint_protocol())
    roster, kept = roster_of(made), files(made)
    log = read_own_log(made.folder / LOG, coordinator_key(made.folder).public)
    checked, run = 0, log[0].data["run"]
    for entry, sites in rounds(made):
        at = f"{entry.data['round']}-{entry.data['attempt']}"
        readies, _ = unpack_messages(kept[f"{at}/roster.messages"])
        agreements, _ = unpack_messages(kept[f"{at}/agreements.messages"])
        uploads = [(site, kept[f"{at}/{said['reply']}.envelope"]) for site, said in sites.items()]
        context = SumContext(
            study="small",
            protocol_digest=made.protocol.digest,
            run=str(run),
            round=int(str(entry.data["round"])),
            attempt=int(str(entry.data["attempt"])),
            base_model=str(entry.data["base_model"]),
            coordinator=roster.coordinator,
        )
        total = recompute_sum(
            context, keys=roster, length=4, readies=readies, agreements=agreements, uploads=uploads
        )
        assert digest(total.tobytes()) == entry.data["secure_sum"]["sum"]  # type: ignore[index]
        checked += 1
    assert checked == 2


def test_without_a_mechanism_or_when_told_so_nothing_is_kept(tmp_path: Path) -> None:
    assert files(ran(tmp_path / "plain", small_protocol())) == {}
    made = small_federation(tmp_path / "told", private_protocol(), archiving="none")
    run_federation(made)
    assert files(made) == {}
    for _, sites in rounds(made):
        assert all(len(said["reply"]) == 64 for said in sites.values())  # what was sent is named all the same


def test_the_same_reply_again_changes_nothing_and_a_damaged_file_is_written_anew(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "archive")
    name = archive.keep(1, 1, b"reply")
    path = tmp_path / "archive" / "1-1" / f"{name}.envelope"
    first = path.stat().st_ino
    assert archive.keep(1, 1, b"reply") == name
    assert path.stat().st_ino == first
    path.write_bytes(b"rep")
    archive.keep(1, 1, b"reply")
    assert path.read_bytes() == b"reply"


def test_a_folder_that_cannot_be_written_stops_the_attempt(tmp_path: Path) -> None:
    (tmp_path / "archive").write_bytes(b"a file where the folder should be")
    with pytest.raises(StorageError, match="archive"):
        Archive(tmp_path / "archive").keep(1, 1, b"reply")


def test_whatever_the_log_names_is_in_the_archive_after_every_crash(tmp_path: Path, quick_disk: None) -> None:
    protocol = private_protocol(rounds=1, attempts=2)
    begun = small_federation(tmp_path / "begun", protocol)
    begun.folder.mkdir(parents=True)
    coordinator, roster = begin(begun)
    asked = coordinator.study.task()
    replies = {}
    with open_sites(begun, roster) as sites:
        for name, site in sites.items():
            model = to_bytes(asked.base)
            replies[name] = site.answer(coordinator.seal(name, TASK, model, 1, 1, asked.base_model))

    def close(folder: Path) -> None:
        again = coordinator_of(small_federation(folder, protocol), roster)
        if not again.study.complete:
            task = again.study.task()
            again.close(task, {name: again.admit(name, reply, task) for name, reply in replies.items()})

    def prepare(folder: Path) -> None:
        shutil.copytree(begun.folder, folder / "federation")

    (tmp_path / "crashes").mkdir()
    seen = set()
    for crash in distinct_crash_points(
        tmp_path / "crashes",
        lambda folder, _: close(folder),
        prepare=prepare,
    ):
        made = small_federation(crash.folder, protocol)
        named = [said["reply"] for _, sites in rounds(made) for said in sites.values()]
        before = {path: data for path, data in files(made).items() if not Path(path).name.startswith(".")}
        assert {f"1-1/{name}.envelope" for name in named} <= before.keys(), crash
        close(crash.folder)
        assert before.items() <= files(made).items(), crash
        assert len([said for _, sites in rounds(made) for said in sites]) == 2
        seen.add((len(named), len(before)))
    assert {(0, 0), (0, 1), (0, 2), (2, 2)} <= seen


def test_the_model_of_a_round_is_the_sum_of_the_archived_updates(tmp_path: Path) -> None:
    made = ran(tmp_path, private_protocol(rounds=1))
    ((entry, sites),) = rounds(made)
    updates = [
        unpack_update(open_envelope(files(made)[f"1-1/{said['reply']}.envelope"], roster_of(made)).body)[1]
        for said in sites.values()
    ]
    weight = np.mean([one["output.weight"].astype(np.float64) for one in updates], axis=0)
    bias = np.mean([one["output.bias"].astype(np.float64) for one in updates], axis=0)
    model = {"output.weight": weight.astype(np.float32), "output.bias": bias.astype(np.float32)}
    assert parameters_digest(model) == entry.data["result_model"]
