"""What a model card is written from, whoever ran the study: protocol, ledgers or log, evaluation, released model.

A simulation and a coordinator each turn their own files into `CardFacts`; everything after that is shared. Rows of an
evaluation are the very rows of `results.json`, so that each number on a card can be found there.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from wardround.common.learning.parameters import parameters_digest
from wardround.common.learning.released import ReleasedModel
from wardround.common.study.protocol import StudyProtocol

Row = Mapping[str, Any]
Rows = tuple[Row, ...]
Setting = Literal["simulation", "deployment"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteFacts:
    """One hospital.

    Attributes:
        site: Its name.
        reference_patients: The protocol's public stand-in for its size.
        patients, held_out: Exact numbers, which only a simulation may show; else None.
        counted: Rounds in which its update counted, where a log says so; else None.
        epsilon: Adversary -> epsilon, infinite without privacy; adding or removing one patient.
        replaced: As `epsilon`, for replacing one patient; may be empty.
    """

    site: str
    reference_patients: int
    patients: int | None = None
    held_out: int | None = None
    counted: int | None = None
    epsilon: Mapping[str, float]
    replaced: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """An exact evaluation: rows of `results.json` under their names there. Exists in simulation only."""

    evaluation: Rows = ()
    gains: Rows = ()
    subgroups: Rows = ()
    gaps: Rows = ()
    worst_groups: Rows = ()
    calibration: Rows = ()
    calibration_bins: Rows = ()
    net_benefit: Rows = ()
    primary: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """The released model: how many numbers it has and takes, and the SHA-256 of its parameters in hexadecimal."""

    parameters: int
    inputs: int
    digest: str

    @classmethod
    def of(cls, model: ReleasedModel) -> "ModelFacts":
        """Those of a released model."""
        return cls(
            parameters=sum(array.size for array in model.parameters.values()),
            inputs=model.path.width,
            digest=parameters_digest(model.parameters),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CardFacts:
    """Everything that a card may say.

    Attributes:
        protocol: The public terms.
        setting: Where the study ran.
        sites: Hospitals that took part.
        left_out_sites: Hospitals below the protocol's minimum; None where nobody can know.
        private: Whether what left the hospitals carries a guarantee.
        rounds: That count.
        void: Attempts without a quorum; None where not recorded.
        model: The released model.
        measured: The exact evaluation of a simulation; None elsewhere.
        released: A private evaluation: `judgement`, `rows`, and whatever else `results.json` says of it; None where
            there was none.
        explanation: Which inputs carry the prediction; None where not computed.
        carriers: Test of the carriers on held-out patients; None where not made.
        sources: Digests and versions by name.
        notes: Sentences that must be shown.
    """

    protocol: StudyProtocol
    setting: Setting
    sites: tuple[SiteFacts, ...]
    left_out_sites: int | None = None
    private: bool
    rounds: int
    void: int | None = None
    model: ModelFacts
    measured: Measured | None = None
    released: Mapping[str, Any] | None = None
    explanation: Row | None = None
    carriers: Row | None = None
    sources: Mapping[str, str]
    notes: tuple[str, ...] = ()
