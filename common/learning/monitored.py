"""A released model with the table of its own evaluation, and the study that evaluates it again.

    DIR/monitored/model.safetensors   as the run that released it left it
    DIR/monitored/calibration.json    the table of that run's evaluation

The protocol names both by digest. What makes a score comparable beside the layers, from the outcome to the standard
deviation of each feature, must be the same in both protocols; that is checked here, where both are at hand.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from wardround.common.errors import ProtocolError, StorageError, TrustError
from wardround.common.learning.calibrationfile import FILE as CALIBRATION
from wardround.common.learning.calibrationfile import Calibration
from wardround.common.learning.calibrationof import bins_of
from wardround.common.learning.drift import check_bins
from wardround.common.learning.models import initial
from wardround.common.learning.parameters import Parameters, parameters_digest
from wardround.common.learning.released import ReleasedModel
from wardround.common.study.fairness import FairnessTerms
from wardround.common.study.monitoring import MonitoringTerms
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.terms import FederationTerms

FOLDER: Final = "monitored"
MODEL: Final = "model.safetensors"

_SAME: Final = ("outcome", "features", "inputs", "model")
"""Sections that say what a score is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Monitored:
    """What a run released.

    Attributes:
        model: The model, with the protocol that trained it.
        before: The table of that study's own evaluation.
    """

    model: ReleasedModel
    before: Calibration

    @classmethod
    def load(cls, folder: Path) -> "Monitored":
        """Read both from a run folder, or from where `save` put them.

        Raises:
            StorageError: One is missing or damaged.
            TrustError: They do not belong together.
            ProtocolError: The model's study did not evaluate it privately.
        """
        model = ReleasedModel.load(folder / MODEL)
        if model.protocol.evaluation is None:
            raise ProtocolError(
                f"study {model.protocol.study.name} released its model without an [evaluation]: there is no table that "
                "new patients could be compared with",
                advice="run it with an [evaluation] first; afterwards it can be monitored",
            )
        if not (folder / CALIBRATION).exists():
            raise StorageError(
                f"expected {CALIBRATION} beside {folder / MODEL}, found none",
                advice="give the run folder of a finished study; under cross-validation there is none",
            )
        before = Calibration.load(folder / CALIBRATION)
        before.check_belongs(model.protocol, parameters_digest(model.parameters))
        return cls(model=model, before=before)

    def save(self, folder: Path) -> None:
        """Write both, as `load` reads them."""
        folder.mkdir(parents=True, exist_ok=True)
        self.model.save(folder / MODEL)
        self.before.save(folder / CALIBRATION)

    @property
    def trained_by(self) -> tuple[str, str]:
        """Name and protocol of the study that trained the model, also where it was evaluated again since."""
        protocol, since = self.model.protocol, self.model.protocol.monitoring
        return (since.study, since.protocol) if since else (protocol.study.name, protocol.digest)

    def check(self, protocol: StudyProtocol) -> None:
        """Refuse a study that monitors something else.

        Raises:
            TrustError: The protocol names another model, study or table, or counts in other bins.
            ProtocolError: Scores would mean something else than when the model was trained.
        """
        terms, trained = protocol.monitoring, self.model.protocol
        found = {
            "study": self.trained_by[0],
            "protocol": self.trained_by[1],
            "model": parameters_digest(self.model.parameters),
            "calibration": self.before.digest,
        }
        for name, value in found.items():
            if terms is None or getattr(terms, name) != value:
                raise TrustError(
                    f"the study does not name this {name} under [monitoring]: found {value[:16]}",
                    advice="take model and calibration from the run that the study names, or draft it again",
                )
        if differing := [name for name in _SAME if getattr(protocol, name) != getattr(trained, name)]:
            raise ProtocolError(
                f"monitoring: {', '.join(differing)} differ from the study that trained the model, so that scores "
                "would mean something else",
                advice="leave these sections as they were; `wardround evaluate RUN --draft DIR` copies them",
            )
        if protocol.evaluation is not None:  # before anybody is charged for a table that cannot be compared
            check_bins(self.before.bins, bins_of(protocol, protocol.evaluation, self.model.parameters))


def monitoring_study(
    found: Monitored, *, name: str, patients: str, evaluation: Mapping[str, Any], **terms: Any
) -> StudyProtocol:
    """The study that evaluates a released model again: the one that trained it, without its rounds.

    Args:
        found: The model and the table of its evaluation.
        name: Of the new study.
        patients: In words, whom every site puts into its table.
        evaluation: Terms of `[evaluation]` that differ; `epsilon` replaces the noise of the first one.
        terms: Further terms of `[monitoring]`.

    Raises:
        ProtocolError: The terms are not acceptable.
    """
    before = found.model.protocol
    if before.evaluation is None:
        raise ProtocolError("the model was released without an [evaluation]")
    price: dict[str, Any] = {"noise_multiplier": 0.0} if "epsilon" in evaluation else {}
    return replace(
        before,
        study=replace(
            before.study, name=name, question=f"Does the model of {found.trained_by[0]} still hold?"
        ),
        federation=FederationTerms(rounds=0, quorum=before.federation.quorum),
        fairness=FairnessTerms(),
        evaluation=replace(before.evaluation, **price, **evaluation),
        monitoring=MonitoringTerms(
            study=found.trained_by[0],
            protocol=found.trained_by[1],
            model=parameters_digest(found.model.parameters),
            calibration=found.before.digest,
            patients=patients,
            **terms,
        ),
    )


def starting_model(protocol: StudyProtocol, width: int, home: Path) -> Parameters:
    """The model that the first task of a study carries: the public first one, or the released one that it monitors.

    Args:
        protocol: The study.
        width: Inputs of the model.
        home: The study's folder at the coordinator, with `FOLDER` in it where it monitors.

    Raises:
        TrustError, ProtocolError, StorageError: What lies there is not what the study monitors.
    """
    if protocol.monitoring is None:
        return initial(protocol, width)
    found = Monitored.load(home / FOLDER)
    found.check(protocol)
    return found.model.parameters
