"""What a coordinator hands to an auditor: the record of one study, in copies. It never saw a patient.

study.toml (and loadings)   the protocol
roster.json                 names and keys, for information: an auditor brings keys of its own
study-log.jsonl             every signed line
checkpoints.jsonl           what the sites cosigned; cosignatures.jsonl, what outside witnesses did
archive/                    the replies that the log names, as they came
results.json                what is claimed, read from the log alone
model.safetensors           the released model, where the study is finished
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from wardround.common.audit.bundling import write_bundle
from wardround.common.errors import StudyError
from wardround.common.study.bundle import STUDY
from wardround.common.study.protocol import StudyProtocol
from wardround.common.trust.checkpointfile import CHECKPOINTS, COSIGNATURES
from wardround.common.trust.identity import Roster
from wardround.common.trust.sealed import layout
from wardround.common.trust.studylog import LogEntry, read_own_log
from wardround.server.archive import ARCHIVE, ENVELOPE, MESSAGES, MODELS, moment_name
from wardround.server.cardfacts import MODEL, RESULTS
from wardround.server.coordinator import LOG
from wardround.server.evaluationclaim import evaluation_claim
from wardround.server.outcome import outcome_of
from wardround.server.running import published
from wardround.server.serverfile import ServerFile
from wardround.server.studyrun import FEDERATION, RUN

_ROSTER: Final = "roster.json"


def hand_over(folder: Path, study: str, out: Path) -> Path:
    """Bundle a study of a coordinator's folder; `wardround server bundle`.

    Raises:
        StudyError: No such study was published, or it never began.
        UsageError: `out` exists.
        TrustError: Roster, bundle or log were changed.
        StorageError: Something cannot be read or written.
    """
    server = ServerFile.load(folder)
    bundle = published(server, study)
    home = server.studies / study
    files: dict[str, Path | bytes] = {STUDY: bundle.study.encode()}
    if bundle.loadings is not None:
        files[bundle.protocol.inputs.loadings] = bundle.loadings
    if (model := home / RUN / MODEL).is_file():
        files[MODEL] = model
    files |= record(home / FEDERATION, bundle.protocol, bundle.roster.roster)
    return write_bundle(
        out, files, kind="server", study=study, protocol=bundle.protocol.digest, by=server.name
    )


def record(federation: Path, protocol: StudyProtocol, roster: Roster) -> dict[str, Path | bytes]:
    """The record that a coordinator keeps of one study: log, checkpoints, archive, roster and claim.

    Args:
        federation: The folder with log and archive.
        protocol: The public terms.
        roster: The parties.

    Raises:
        StudyError: The study never began.
        TrustError: The log was changed.
    """
    entries = read_own_log(federation / LOG, roster.coordinator_key)
    if not entries:
        raise StudyError(f"the study {protocol.study.name} has not begun: there is no log in {federation}")
    evaluation = evaluation_claim(federation, protocol, roster, entries)
    claim = outcome_of(protocol, roster, entries, evaluation=evaluation).as_json()
    files: dict[str, Path | bytes] = {
        _ROSTER: layout(roster.to_dict()),
        LOG: b"".join(entry.line + b"\n" for entry in entries),
        RESULTS: (json.dumps(claim, indent=1, ensure_ascii=False) + "\n").encode(),
    }
    beside = (CHECKPOINTS, COSIGNATURES, *archived(entries))
    return files | {name: federation / name for name in beside if (federation / name).is_file()}


def archived(entries: Sequence[LogEntry]) -> Iterator[str]:
    """The names of what the archive may hold of the attempts in a log."""
    for entry in entries:
        match entry.data:
            case {"round": int(round_), "attempt": int(attempt), "sites": dict(sites)}:
                place = f"{ARCHIVE}/{moment_name(round_, attempt)}"
                yield from (f"{place}/{part}{MESSAGES}" for part in ("roster", "agreements"))
                yield from (f"{place}/{reply}{ENVELOPE}" for reply in map(_reply, sites.values()) if reply)
                yield f"{ARCHIVE}/{MODELS}/{entry.data.get('result_model')}.safetensors"


def _reply(said: Mapping[str, object]) -> str:
    """The digest of a reply that was taken; nothing where it was refused before."""
    return str(said["reply"]) if "reply" in said and "head" in said else ""
