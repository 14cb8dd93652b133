"""The run folder: what one simulated study leaves behind, and how an interrupted run finds itself again.

run.json            what was asked, with digests; written first
study.toml          the protocol, and the loadings it names
sites/<name>/       identity, ledger, outbox and refusals of an imagined hospital (only with --table)
federation/         the coordinator's key, checkpoint and study log
curves.jsonl        one line per measured round and place; exact, and each line says so: `"private": false`
model.safetensors   the final model with its preprocessing
calibration.json    held-out patients under noise, for `wardround predict`; see `heldouttable`
ledger.json         what each site's ledger says was spent
model-card.json, .html      the model card, from all of the above
results.json, report.html   written last: their presence means the run is complete
"""

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from wardround.common.durable import append_line, sync_folder, write_atomic
from wardround.common.errors import StorageError, UsageError
from wardround.common.formats import canonical, check_header, digest, header
from wardround.common.learning.calibrationfile import FILE as CALIBRATION
from wardround.common.learning.monitored import FOLDER as MONITORED
from wardround.common.learning.monitored import Monitored
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.reader import dumps
from wardround.simulations.resultrows import CurveRow

FORMAT = "wardround-run"
VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """What a run was asked to do; a resume must ask the same.

    Attributes:
        protocol: Digest of the protocol.
        data: Digest of the table or of the site folders' tables.
        backend: `inline` or `ray`.
        seed: Of splits and intervals; without privacy also of training.
        folds: Cross-validation folds; 0 for one held-out split.
        leave_one_out: `yes` or `no`.
    """

    protocol: str
    data: str
    backend: str
    seed: int
    folds: int
    leave_one_out: str


class RunFolder:
    """Paths of a run, and its claim on them.

    Args:
        path: The folder; made if absent.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.results = path / "results.json"
        self.report = path / "report.html"
        self.model = path / "model.safetensors"
        self.calibration = path / CALIBRATION
        self.protocol = path / "study.toml"
        self.ledgers = path / "ledger.json"
        self._facts = path / "run.json"
        self._curves = path / "curves.jsonl"

    def claim(self, facts: RunFacts) -> None:
        """Begin a run here, or go on with the very same one.

        Raises:
            UsageError: The folder holds a finished run, another run, or something else entirely.
        """
        if self.results.exists():
            raise UsageError(
                f"{self.path} holds a finished run",
                advice="choose another --out, or look at its report.html; nothing was changed",
            )
        if self._facts.exists():
            self._check_same(facts)
            return
        self._make()
        if any(entry.name != _draft(self._facts) for entry in self.path.iterdir()):
            raise UsageError(f"{self.path} is not empty and holds no run", advice="choose another --out")
        write_atomic(self._facts, canonical({**header(FORMAT, VERSION), **asdict(facts)}))

    def _make(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"could not make the folder {self.path}: {error.strerror}", advice="choose another --out"
            ) from None

    def _check_same(self, facts: RunFacts) -> None:
        found = json.loads(self._facts.read_bytes())
        check_header(found, name=FORMAT, version=VERSION, where=str(self._facts))
        changed = [name for name, value in asdict(facts).items() if found.get(name) != value]
        if changed:
            raise UsageError(
                f"{self.path} holds an unfinished run with another {', '.join(changed)}",
                advice="repeat the first command to resume it, or choose another --out",
            )

    def keep_protocol(self, protocol: StudyProtocol, source: Path | None) -> None:
        """Keep the protocol, and beside it the public loadings that it names and a model that it monitors.

        Args:
            protocol: As it is run.
            source: Folder that the protocol came from; None where it names no loadings.
        """
        write_atomic(self.protocol, dumps(protocol).encode())
        if source is not None and protocol.inputs.loadings:
            target = self.path / Path(protocol.inputs.loadings)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / protocol.inputs.loadings, target)
            sync_folder(target.parent)
        if source is not None and protocol.monitoring is not None and (source / MONITORED).is_dir():
            Monitored.load(source / MONITORED).save(self.path / MONITORED)

    def add_curves(self, rows: Iterable[CurveRow]) -> None:
        """Note the points of one round, durably and in one go: hundreds of hospitals make hundreds of points."""
        lines = [canonical({**asdict(row), "value": repr(row.value), "private": False}) for row in rows]
        append_line(self._curves, b"\n".join(lines), mode=0o644)

    def curves(self) -> tuple[CurveRow, ...]:
        """All points, the last word on each round; a line torn by a crash is measured again anyway."""
        rows = {(row.round, row.on, row.metric): row for row in self._curve_lines()}
        return tuple(sorted(rows.values(), key=lambda row: (row.round, row.on)))

    def _curve_lines(self) -> Iterator[CurveRow]:
        if not self._curves.exists():
            return
        for line in self._curves.read_bytes().splitlines():
            try:
                found = json.loads(line)
                found.pop("private", None)
                yield CurveRow(**{**found, "value": float(found["value"])})
            except (ValueError, TypeError, KeyError, AttributeError):
                continue

    def keep_ledgers(self, spent: Mapping[str, object]) -> None:
        """Keep what each site's ledger says was spent; nothing computed from patients is in it."""
        write_atomic(self.ledgers, canonical({**header("wardround-ledger-extract", 1), "sites": dict(spent)}))


def _draft(file: Path) -> str:
    """What an interrupted `write_atomic` leaves beside a file."""
    return f".{file.name}.draft"


def open_run(path: Path) -> RunFolder:
    """A finished run.

    Raises:
        StorageError: There is none at `path`, or it was interrupted before its results.
    """
    folder = RunFolder(path)
    if not folder.results.exists():
        raise StorageError(
            f"{path} holds no finished run (no results.json)",
            advice="repeat the simulate command to finish an interrupted run",
        )
    return folder


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes.

    Raises:
        StorageError: The file is not there or cannot be read.
    """
    try:
        return digest(path.read_bytes())
    except OSError as error:
        raise StorageError(f"could not read {path}: {error.strerror}", advice="check the path") from None
