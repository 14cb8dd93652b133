"""`results.json`: what a simulated run measured.

Everything here may be exact: the file exists only in simulation, and says by `evaluation_private: false` that
its numbers were computed on patients without noise. A number that cannot be computed (NaN) and an epsilon
that is infinite are both written as null, because JSON has neither.

Reading is strict: an unknown key, a missing key, a wrong type or a newer version is refused by name.

Example:
    >>> run = Results(
    ...     study="demo", mechanism="none", training_private=False, evaluation_private=False, delta=1e-5,
    ...     epsilon=(EpsilonRow(site="Alder", adversary="server", value=math.inf),), rounds=2, evaluation=(),
    ... )
    >>> run.as_json()["epsilon"]
    [{'site': 'Alder', 'adversary': 'server', 'value': None}]
    >>> Results.from_json(run.to_json(), where="memory") == run
    True
"""

import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, Field, asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final, cast

import pandas as pd

from wardround.common.durable import write_atomic
from wardround.common.errors import StorageError, UsageError
from wardround.common.formats import check_header, header
from wardround.simulations.observers import HEADLINE
from wardround.simulations.resultrows import (
    PRIMARY,
    CapRow,
    CohortRow,
    CurveRow,
    EpsilonRow,
    EvaluationRow,
    GainRow,
    Row,
    SubgroupRow,
)

FORMAT: Final = "wardround-results"
VERSION: Final = 1

_ROWS: Final[Mapping[str, type[Row]]] = {
    "epsilon": EpsilonRow,
    "replaced": EpsilonRow,
    "evaluation": EvaluationRow,
    "gains": GainRow,
    "curves": CurveRow,
    "subgroups": SubgroupRow,
    "cohorts": CohortRow,
    "caps": CapRow,
}
_LATER: Final[Mapping[str, object]] = {"replaced": [], "honest_sites": 0}
"""Fields that version 1 gained later: written only where they say something."""
_NULL: Final[Mapping[type[Row], float]] = {
    EpsilonRow: math.inf,
    EvaluationRow: math.nan,
    GainRow: math.nan,
    CurveRow: math.nan,
    SubgroupRow: math.nan,
}
"""What null means in a row; elsewhere it is refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """A whole run.

    Attributes:
        study: Name of the study.
        mechanism: `none`, `site-noise` or `joint-noise`.
        training_private: Whether what left the sites carries the guarantee of `epsilon`; false for mechanism
            `none`, for a seeded run and where a constant was drafted from the study's own table.
        evaluation_private: False in every simulation: these numbers are exact.
        delta: Of every epsilon in this file.
        epsilon: One row per site and adversary, for adding or removing one patient. Under joint noise there are four
            adversaries (see `observers`), of which `claims` are those that a study states first.
        rounds: Completed rounds.
        evaluation: Every model, place and metric.
        gains: One row per site and metric.
        curves, subgroups, cohorts, caps: See their rows; each may be empty.
        replaced: As `epsilon`, for replacing one patient by another.
        honest_sites: h, under joint noise: the claim holds against all parties but so many honest sites.
        left_out_sites: Sites that were below the protocol's minimum.
        drafted: Whether a public constant was computed from the study's own patients.
        imagined_sites: Whether the hospitals were read off a column of one table (`--table`).
        protocol_digest, data_digest, code_digest: SHA-256 in hexadecimal; empty where unknown.
        code_version: Release of wardround.
        notes: Sentences that the report must show.
    """

    study: str
    mechanism: str
    training_private: bool
    evaluation_private: bool
    delta: float
    epsilon: tuple[EpsilonRow, ...]
    rounds: int
    evaluation: tuple[EvaluationRow, ...]
    gains: tuple[GainRow, ...] = ()
    curves: tuple[CurveRow, ...] = ()
    subgroups: tuple[SubgroupRow, ...] = ()
    cohorts: tuple[CohortRow, ...] = ()
    caps: tuple[CapRow, ...] = ()
    replaced: tuple[EpsilonRow, ...] = ()
    honest_sites: int = 0
    left_out_sites: int = 0
    drafted: bool = False
    imagined_sites: bool = False
    protocol_digest: str = ""
    data_digest: str = ""
    code_digest: str = ""
    code_version: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse claims that contradict each other.

        Raises:
            UsageError: Training is called private although it cannot be.
        """
        if self.training_private and (self.mechanism == "none" or self.drafted):
            raise UsageError(
                "training_private is true, but the mechanism is 'none' or constants were drafted"
            )
        if (self.mechanism == "joint-noise") != bool(self.honest_sites):
            raise UsageError(
                f"expected honest_sites with mechanism 'joint-noise' and only then, found {self.honest_sites} "
                f"with {self.mechanism!r}"
            )

    @property
    def claims(self) -> tuple[EpsilonRow, ...]:
        """The rows of `epsilon` that the study states first: against everybody whom it assumes curious."""
        return tuple(
            row for row in self.epsilon if self.mechanism != "joint-noise" or row.adversary in HEADLINE
        )

    def largest(self, adversary: str = "") -> float:
        """The largest epsilon of any site against one adversary; without a name, the claim. Infinite if unknown."""
        rows = [row for row in self.epsilon if row.adversary == adversary] if adversary else self.claims
        return max((row.value for row in rows), default=math.inf)

    @property
    def primary(self) -> str:
        """The metric to lead with; empty if nothing was measured."""
        found = {row.metric for row in self.gains} or {row.metric for row in self.evaluation}
        return next((metric for metric in PRIMARY if metric in found), "")

    @property
    def sites(self) -> tuple[str, ...]:
        """Every site of the run, smallest first where sizes are known."""
        sizes = {row.site: row.patients for row in self.cohorts}
        names = dict.fromkeys([*sizes, *(r.site for r in self.epsilon), *(r.site for r in self.gains)])
        return tuple(sorted(names, key=lambda name: sizes.get(name, math.inf)))

    def value(self, model: str, on: str, metric: str) -> float:
        """One number of `evaluation`; NaN if it was not measured."""
        for row in self.evaluation:
            if (row.model, row.on, row.metric) == (model, on, metric):
                return row.value
        return math.nan

    def as_json(self) -> dict[str, Any]:
        """The JSON value: `format` and `version` first, NaN and infinity as null."""
        body = {field.name: getattr(self, field.name) for field in fields(self)}
        for name in _ROWS:
            body[name] = [_plain(asdict(row)) for row in body[name]]
        said = {name: value for name, value in body.items() if name not in _LATER or value != _LATER[name]}
        return {**header(FORMAT, VERSION), **said, "notes": list(self.notes)}

    def to_json(self) -> str:
        """The file's text; equal results give equal text."""
        return json.dumps(self.as_json(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str, *, where: str) -> "Results":
        """Read a file's text.

        Raises:
            StorageError: It is not JSON, not of this format, newer, or a field is unknown, absent or of a
                wrong type; the message names `where` and the field.
        """
        found = _parsed(text, where)
        check_header(found, name=FORMAT, version=VERSION, where=where)
        body = {name: value for name, value in found.items() if name not in ("format", "version")}
        try:
            return cls(**_typed(cls, body, where))
        except UsageError as error:
            raise StorageError(f"{where}: {error}") from None

    def save(self, path: Path) -> None:
        """Write the file whole or not at all."""
        write_atomic(path, self.to_json().encode())

    @classmethod
    def load(cls, path: Path) -> "Results":
        """Read a file.

        Raises:
            StorageError: It cannot be read, or is not a results file of this version.
        """
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            raise StorageError(
                f"could not read {path}", advice="give the run folder that a simulation wrote"
            ) from None
        return cls.from_json(text, where=str(path))

    def frames(self) -> dict[str, pd.DataFrame]:
        """One table per kind of row: epsilon, replaced, evaluation, gains, curves, subgroups, cohorts, caps."""
        return {
            name: pd.DataFrame(
                [asdict(row) for row in getattr(self, name)], columns=[field.name for field in fields(kind)]
            )
            for name, kind in _ROWS.items()
        }


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    def number(value: Any) -> Any:
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return {name: number(value) for name, value in row.items()}


def _parsed(text: str, where: str) -> dict[str, Any]:
    try:
        found = json.loads(text, parse_constant=_refuse_constant)
    except ValueError as error:
        raise StorageError(f"expected JSON in {where}: {error}") from None
    if not isinstance(found, dict):
        raise StorageError(f"expected a JSON object in {where}, found {type(found).__name__}")
    return found


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON; a missing number is null")


def _typed(kind: type[Any], found: object, where: str) -> dict[str, Any]:
    """The constructor arguments of a dataclass from a JSON object, every field checked."""
    if not isinstance(found, dict):
        raise StorageError(f"expected an object in {where}, found {type(found).__name__}")
    known = {field.name: field for field in fields(kind)}
    if unknown := sorted(set(found) - set(known)):
        raise StorageError(f"{where}: unknown field {', '.join(unknown)}")
    absent = [name for name, field in known.items() if field.default is MISSING and name not in found]
    if absent:
        raise StorageError(f"{where}: field {', '.join(absent)} is missing")
    return {name: _value(kind, known[name], value, f"{where}: {name}") for name, value in found.items()}


def _value(kind: type[Any], field: Field[Any], value: object, where: str) -> object:
    if kind is Results and field.name in _ROWS:
        return _rows(_ROWS[field.name], value, where)
    if value is None and field.type is float and kind in _NULL:
        return _NULL[kind]
    if field.type is float and type(value) in (int, float):
        return _finite(float(cast(float, value)), where)
    if field.type == tuple[str, ...] and isinstance(value, list) and all(type(v) is str for v in value):
        return tuple(value)
    if type(value) is not field.type:
        raise StorageError(f"{where}: found {type(value).__name__}, which it cannot be")
    return value


def _finite(value: float, where: str) -> float:
    if not math.isfinite(value):
        raise StorageError(f"{where}: the number is too large to be meant")
    return value


def _rows(kind: type[Row], found: object, where: str) -> tuple[Row, ...]:
    if not isinstance(found, list):
        raise StorageError(f"{where}: expected a list, found {type(found).__name__}")
    return tuple(kind(**_typed(kind, row, f"{where}[{number}]")) for number, row in enumerate(found))
