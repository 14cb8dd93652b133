"""A finished study with every key in one hand, so that a test can be any insider: rewrite, sign, cosign, hand over."""

import json
import shutil
import subprocess
import sys
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from tests.studies import roster_of, small_federation

from wardround.client.consenting import SIMULATED
from wardround.client.handing import own_record
from wardround.common.audit.bundling import file_name
from wardround.common.audit.verdicts import Finding
from wardround.common.audit.verify import verify
from wardround.common.formats import canonical, digest
from wardround.common.learning.features import FeaturePath
from wardround.common.learning.parameters import Parameters
from wardround.common.learning.released import ReleasedModel
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.reader import dumps
from wardround.common.trust.checkpoint import Checkpoint, cosign, origin, sign
from wardround.common.trust.checkpointfile import CHECKPOINTS, HEAD, checkpoint_line
from wardround.common.trust.identity import SigningKey
from wardround.common.trust.merkle import Tree
from wardround.common.trust.signed import text_of
from wardround.common.trust.statement import APPROVAL, read_statement, sign_statement
from wardround.common.trust.studylog import LogEntry, StudyLog, read_log
from wardround.server.coordinator import LOG
from wardround.server.handing import record
from wardround.simulations.federation import Federation, coordinator_key, run_federation

NOW = datetime(2026, 11, 27, 8, 0, tzinfo=UTC)
NAMES = ("north", "south", "west")

# Refuses the libraries that are not in the base install, runs one command, and says how long it took.
_RUN_WITHOUT = """
import sys, time
heavy = {"torch", "opacus", "flwr", "pandas", "pyarrow", "ray", "matplotlib", "sklearn", "jinja2"}
class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in heavy:
            raise ImportError(f"{name} is not in the base install")
sys.meta_path.insert(0, Refused())
began = time.process_time()
from wardround.cli import main
try:
    code = main(sys.argv[1:])
except SystemExit as done:
    code = done.code
print(f"\\n{time.process_time() - began:.2f}", file=sys.stderr)
sys.exit(code)
"""

Line = tuple[str, dict[str, object]]
"""Kind and data of a line; number, chain, time and signature come when it is written."""


@dataclass(frozen=True)
class Record:
    """What an auditor gets, and the keys of everybody who made it.

    Attributes:
        protocol: The study.
        keys: Name of each party -> its private key.
        lines: What the log says.
        times: What a line is known by -> when it was written; other lines are written at `NOW`.
        files: Name in the bundle -> bytes: all but log, checkpoints and manifest.
        cosigners: Who cosigns each checkpoint.
        sizes: Sizes of the log at which there is one; None for one after each line but the first two and the last.
    """

    protocol: StudyProtocol
    keys: Mapping[str, SigningKey] = field(repr=False)
    lines: tuple[Line, ...] = field(repr=False)
    times: Mapping[str, str] = field(repr=False)
    files: Mapping[str, bytes] = field(repr=False)
    cosigners: tuple[str, ...] = NAMES
    sizes: tuple[int, ...] | None = None

    @property
    def run(self) -> str:
        """The run that the first line names."""
        return str(self.lines[self.at("protocol")][1]["run"])

    def at(self, kind: str, number: int = 0) -> int:
        """Place of a line of a kind."""
        return [place for place, line in enumerate(self.lines) if line[0] == kind][number]

    def with_line(self, place: int, **changes: object) -> "Record":
        """The same with some fields of one line changed."""
        kind, data = self.lines[place]
        changed = (*self.lines[:place], (kind, {**data, **changes}), *self.lines[place + 1 :])
        return replace(self, lines=changed)

    def with_word(self, place: int, site: str, **changes: object) -> "Record":
        """The same with some fields of what a line says of one site changed."""
        sites = self.lines[place][1]["sites"]
        assert isinstance(sites, dict)
        return self.with_line(place, sites={**sites, site: {**sites[site], **changes}})

    def without(self, *places: int) -> "Record":
        """The same without some lines."""
        kept = tuple(line for place, line in enumerate(self.lines) if place not in places)
        return replace(self, lines=kept)

    def with_file(self, name: str, data: bytes | None) -> "Record":
        """The same with another file, or without it."""
        files = {path: content for path, content in self.files.items() if path != name}
        return replace(self, files=files if data is None else {**files, name: data})

    def log(self, folder: Path, key: SigningKey | None = None) -> list[LogEntry]:
        """Write the log, signed by the coordinator or by somebody else."""
        moments = [self.times.get(name_of(kind, data)) for kind, data in self.lines]
        clock = iter([datetime.fromisoformat(moment) if moment else NOW for moment in moments])
        log = StudyLog(folder / LOG, key or self.keys["coordinator"], clock=lambda: next(clock))
        return [log.append(kind, data) for kind, data in self.lines]

    def hand_over(self, folder: Path, *, signer: SigningKey | None = None) -> Path:
        """Write the bundle, with a manifest that fits."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        entries = self.log(folder, signer)
        (folder / CHECKPOINTS).write_bytes(self._checkpoints(entries, signer))
        for name, data in self.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
        return with_manifest(folder, self.protocol)

    def _checkpoints(self, entries: Sequence[LogEntry], signer: SigningKey | None) -> bytes:
        tree = Tree(entry.line for entry in entries)
        sizes = range(3, len(entries)) if self.sizes is None else self.sizes
        lines = [HEAD]
        for size in sizes:
            name = origin(self.protocol.study.name, self.protocol.digest, self.run)
            checkpoint = Checkpoint(origin=name, size=size, root=tree.root(size))
            signed = sign(signer or self.keys["coordinator"], checkpoint)
            cosigned = [cosign(self.keys[site], checkpoint, time=NOW) for site in self.cosigners]
            lines.append(checkpoint_line(signed.with_signatures(cosigned)))
        return b"".join(line + b"\n" for line in lines)


def with_manifest(folder: Path, protocol: StudyProtocol) -> Path:
    """Write the manifest of whatever lies in a folder."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "manifest.json")
    files = {
        path.relative_to(folder).as_posix(): {
            "sha256": digest(path.read_bytes()),
            "bytes": path.stat().st_size,
        }
        for path in paths
    }
    facts = {"format": "wardround-audit-bundle", "version": 1, "kind": "simulation", "files": files}
    facts |= {"study": protocol.study.name, "protocol": protocol.digest, "by": "coordinator"}
    (folder / "manifest.json").write_text(json.dumps(facts))
    return folder


def finished(
    root: Path, protocol: StudyProtocol, *, run: Callable[[Federation], Parameters] = run_federation
) -> Record:
    """Run a study to its end with the production coordinator and sites, and gather what both hand over."""
    return finished_by(small_federation(root, protocol, names=NAMES), root, run=run)


def finished_by(
    federation: Federation, root: Path, *, run: Callable[[Federation], Parameters] = run_federation
) -> Record:
    """The same with hospitals that may have taken part in other studies, or in this one before."""
    protocol, model = federation.protocol, run(federation)
    roster = roster_of(federation)
    keys = {"coordinator": coordinator_key(federation.folder)}
    keys |= {hospital.name: hospital.office().key for hospital in federation.hospitals}
    place = root / "model.safetensors"
    ReleasedModel(protocol=protocol, parameters=model, path=FeaturePath.from_protocol(protocol, root)).save(
        place
    )
    files: dict[str, Path | bytes] = {"study.toml": dumps(protocol).encode(), "model.safetensors": place}
    files |= record(federation.folder, protocol, roster)
    for hospital in federation.hospitals:
        office = hospital.office()
        with office.ledger() as ledger:
            files |= own_record(office, ledger, protocol, roster, SIMULATED)
    entries = read_log(federation.folder / LOG, roster)
    return Record(
        protocol=protocol,
        keys=keys,
        lines=tuple((entry.kind, dict(entry.data)) for entry in entries),
        times={name_of(entry.kind, entry.data): entry.time for entry in entries},
        files={
            name: found if isinstance(found, bytes) else found.read_bytes()
            for name, found in files.items()
            if name not in (LOG, CHECKPOINTS)
        },
    )


def without(made: Record, *places: str) -> Record:
    """The record without the files that begin like this."""
    return replace(made, files={n: data for n, data in made.files.items() if not n.startswith(places)})


def with_approval(made: Record, site: str, **changes: object) -> Record:
    """The record with another approval of a site in its log, which the site signed; None takes a field out."""
    place = next(
        number for number, (kind, data) in enumerate(made.lines) if kind == APPROVAL and data["site"] == site
    )
    said = b64decode(str(made.lines[place][1]["statement"]))
    fields = {**read_statement(said, kind=APPROVAL, signer=made.keys[site].public).fields, **changes}
    signed = sign_statement(
        made.keys[site], APPROVAL, {name: value for name, value in fields.items() if value is not None}
    )
    return made.with_line(place, statement=text_of(signed))


def ledger_of(site: str) -> str:
    """Name of a site's ledger in a bundle."""
    return f"ledgers/{file_name(site)}.jsonl"


def name_of(kind: str, data: Mapping[str, object]) -> str:
    """What a line is known by, wherever it stands."""
    return digest(canonical([kind, dict(data)]))


def judged(folder: Path, keys: Path | None = None) -> list[Finding]:
    """All findings on a bundle."""
    return verify((folder,), (keys,) if keys else ())[1]


def refuted(folder: Path) -> dict[str, str]:
    """Refuted claim -> what was found instead."""
    return {one.claim: one.found for one in judged(folder) if one.verdict == "refuted"}


@dataclass(frozen=True)
class Done:
    """How a command ended, and its processor seconds from the import of its entry point on."""

    code: int
    out: str
    err: str
    seconds: float


def base_install(*arguments: str) -> Done:
    """Run `wardround` in an interpreter that has only what an auditor installs."""
    done = subprocess.run(
        [sys.executable, "-c", _RUN_WITHOUT, *arguments], capture_output=True, text=True, check=False
    )
    *err, took = done.stderr.splitlines()
    return Done(code=done.returncode, out=done.stdout, err="\n".join(err), seconds=float(took))
