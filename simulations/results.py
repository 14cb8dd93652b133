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
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

import pandas as pd

from wardround.common.durable import write_atomic
from wardround.common.errors import StorageError, UsageError
from wardround.common.formats import check_header, header
from wardround.common.learning.evaluating import Judgement, PrivateBin, PrivateRow
from wardround.simulations.evidencerows import (
    BinRow,
    CalibrationRow,
    CarrierRow,
    CrossRow,
    EvidenceRow,
    GapRow,
    NetBenefitRow,
    WorstGroupRow,
)
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
from wardround.simulations.strictjson import Shape, parsed, plain, typed

FORMAT: Final = "wardround-results"
VERSION: Final = 1

_ROWS: Final[Mapping[str, type[Row | EvidenceRow | PrivateRow | PrivateBin | Judgement]]] = {
    "epsilon": EpsilonRow,
    "replaced": EpsilonRow,
    "evaluation": EvaluationRow,
    "gains": GainRow,
    "curves": CurveRow,
    "subgroups": SubgroupRow,
    "cohorts": CohortRow,
    "caps": CapRow,
    "gaps": GapRow,
    "worst_groups": WorstGroupRow,
    "calibration": CalibrationRow,
    "calibration_bins": BinRow,
    "net_benefit": NetBenefitRow,
    "carriers": CarrierRow,
    "cross_site": CrossRow,
    "private_evaluation": PrivateRow,
    "judgements": Judgement,
    "private_bins": PrivateBin,
    "held_out_epsilon": EpsilonRow,
}
_EVIDENCE: Final = (
    "gaps",
    "worst_groups",
    "calibration",
    "calibration_bins",
    "net_benefit",
    "carriers",
    "cross_site",
)
_PRIVATE: Final = ("private_evaluation", "judgements", "private_bins", "held_out_epsilon")
_LATER: Final[Mapping[str, object]] = {
    "replaced": [],
    "honest_sites": 0,
    **{name: [] for name in (*_EVIDENCE, *_PRIVATE)},
}
"""Fields that version 1 gained later: written only where they say something."""
_MEASURED: Final = (
    EvaluationRow,
    GainRow,
    CurveRow,
    SubgroupRow,
    PrivateRow,
    PrivateBin,
    *(_ROWS[name] for name in _EVIDENCE),
)
_SHAPE: Final = Shape(rows=_ROWS, null={EpsilonRow: math.inf, **dict.fromkeys(_MEASURED, math.nan)})
"""What null means in a row; elsewhere it is refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """A whole run.

    Attributes:
        study: Name of the study.
        mechanism: `none`, `site-noise` or `joint-noise`.
        training_private: Whether what left the sites carries the guarantee of `epsilon`; false for mechanism
            `none`, for a seeded run and where a constant was drafted from the study's own table.
        evaluation_private: False in every simulation: `evaluation` and what goes with it are exact.
        delta: Of every epsilon in this file.
        epsilon: One row per site and adversary, for adding or removing one patient. Under joint noise there are four
            adversaries (see `observers`), of which `claims` are those that a study states first.
        rounds: Completed rounds.
        evaluation: Every model, place and metric.
        gains: One row per site and metric.
        curves, subgroups, cohorts, caps: See their rows; each may be empty.
        gaps, worst_groups: How much worse the federated model is for some groups of patients; see their rows.
        calibration, calibration_bins, net_benefit: Whether its probabilities mean what they say, and whether acting
            on them helps; see their rows. Empty where the outcome or the loss gives no probabilities.
        carriers: Inputs of the released model that were tested on held-out patients; see `carriers`.
        cross_site: Each model at each hospital; see `crosssite`.
        private_evaluation, judgements: What the study's own evaluation says, from noised tables alone: the only
            measures here that also exist between real hospitals. Empty where the protocol declares none.
        private_bins: The public bins of the score that its table has.
        held_out_epsilon: As `epsilon`, of the evaluation, for the patients who are held out.
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
    gaps: tuple[GapRow, ...] = ()
    worst_groups: tuple[WorstGroupRow, ...] = ()
    calibration: tuple[CalibrationRow, ...] = ()
    calibration_bins: tuple[BinRow, ...] = ()
    net_benefit: tuple[NetBenefitRow, ...] = ()
    carriers: tuple[CarrierRow, ...] = ()
    cross_site: tuple[CrossRow, ...] = ()
    private_evaluation: tuple[PrivateRow, ...] = ()
    judgements: tuple[Judgement, ...] = ()
    private_bins: tuple[PrivateBin, ...] = ()
    held_out_epsilon: tuple[EpsilonRow, ...] = ()
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
            body[name] = [plain(asdict(row)) for row in body[name]]
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
        found = parsed(text, where)
        check_header(found, name=FORMAT, version=VERSION, where=where)
        body = {name: value for name, value in found.items() if name not in ("format", "version")}
        try:
            return cls(**typed(cls, body, where, _SHAPE))
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
        """One table per field that holds rows, under its name."""
        return {
            name: pd.DataFrame(
                [asdict(row) for row in getattr(self, name)], columns=[field.name for field in fields(kind)]
            )
            for name, kind in _ROWS.items()
        }
