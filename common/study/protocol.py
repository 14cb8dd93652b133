"""The study protocol: the public terms that every party signs, as one frozen value with one digest.

A study is data, not code. Two protocols are the same study exactly if their digests are equal.
"""

from dataclasses import asdict, dataclass, replace
from functools import cached_property

from wardround.common.errors import PrivacyError, ProtocolError
from wardround.common.formats import canonical, digest, header
from wardround.common.privacy.events import DpEvent, GaussianSteps, NonPrivate
from wardround.common.privacy.terms import PrivacyTerms
from wardround.common.study.outcomes import Outcome, SurvivalOutcome
from wardround.common.study.schema import DRAFTED, Feature
from wardround.common.study.terms import CohortTerms, FederationTerms, InputTerms, ModelTerms, StudyTerms

FORMAT = "wardround-study"
VERSION = 1


@dataclass(frozen=True, kw_only=True)
class StudyProtocol:
    """All public terms of one study.

    Attributes:
        study, outcome, features, inputs, cohort, model, federation, privacy: The sections of `study.toml`.
        seed: Only with mechanism `none`: makes a run repeatable. A private run takes its randomness from the
            operating system and cannot be repeated.
    """

    study: StudyTerms
    outcome: Outcome
    features: tuple[Feature, ...]
    cohort: CohortTerms
    privacy: PrivacyTerms
    inputs: InputTerms = InputTerms()
    model: ModelTerms = ModelTerms()
    federation: FederationTerms = FederationTerms()
    seed: int | None = None

    def __post_init__(self) -> None:
        """Refuse sections that contradict each other.

        Raises:
            ProtocolError: A feature is listed twice, is the outcome, or a term does not fit the outcome.
            PrivacyError: A term that couples patients or fixes randomness is combined with a private mechanism.
        """
        names = [feature.name for feature in self.features]
        if not names or len(set(names)) != len(names):
            raise ProtocolError("features: list at least one, and none twice")
        if leaked := set(names) & set(self.outcome_columns):
            raise ProtocolError(f"features: {', '.join(sorted(leaked))} is the outcome itself")
        if self.model.loss == "cox" and not isinstance(self.outcome, SurvivalOutcome):
            raise ProtocolError("model: loss 'cox' needs a survival outcome")
        if self.private:
            self._check_private()

    def _check_private(self) -> None:
        if self.model.loss == "cox":
            raise PrivacyError(
                "the Cox partial likelihood couples patients, so no clipping bounds one patient's influence",
                advice="use the default loss: the discrete-time hazard decomposes per patient",
            )
        if self.seed is not None:
            raise PrivacyError(
                "a seed would give away the noise", advice="remove `seed`, or use mechanism 'none'"
            )

    @property
    def private(self) -> bool:
        """Whether updates leave a site under a privacy mechanism."""
        return self.privacy.mechanism != "none"

    @property
    def outcome_columns(self) -> tuple[str, ...]:
        """The columns that hold the outcome."""
        if isinstance(self.outcome, SurvivalOutcome):
            return (self.outcome.time_column, self.outcome.event_column)
        return (self.outcome.column,)

    @property
    def drafted(self) -> bool:
        """Whether any public constant was computed from the study's own patients."""
        sources = [self.outcome.source, self.privacy.source, self.inputs.source]
        return DRAFTED in sources or any(feature.source == DRAFTED for feature in self.features)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the canonical bytes: the name under which sites approve the study."""
        return digest(self.canonical_bytes())

    def canonical_bytes(self) -> bytes:
        """The bytes that are signed: floats as their shortest decimal string."""
        terms = {"outcome_kind": type(self.outcome).__name__, **asdict(self)}
        return canonical({**header(FORMAT, VERSION), **_decimals(terms)})

    def reference_patients(self, site: str) -> int:
        """The public stand-in for a site's cohort size; never counted from patients."""
        for terms in self.federation.sites:
            if terms.name == site and terms.reference_patients:
                return terms.reference_patients
        return self.privacy.reference_patients

    def event(self) -> DpEvent:
        """What one release of one site costs."""
        if not self.private:
            return NonPrivate()
        return GaussianSteps(
            noise_multiplier=self.privacy.noise_multiplier,
            sample_rate=self.privacy.sample_rate,
            steps=self.federation.local_steps,
        )

    def with_privacy(self, terms: PrivacyTerms) -> "StudyProtocol":
        """The same study under other privacy terms: another protocol with another digest."""
        return replace(self, privacy=terms, seed=None if terms.mechanism != "none" else self.seed)


def _decimals(value: dict[str, object]) -> dict[str, object]:
    return {name: _decimal(item) for name, item in value.items()}


def _decimal(value: object) -> object:
    match value:
        case float():
            return repr(value)
        case dict():
            return _decimals(value)
        case tuple() | list():
            return [_decimal(item) for item in value]
        case _:
            return value
