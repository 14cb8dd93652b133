"""The study protocol: the public terms that every party signs, as one frozen value with one digest.

A study is data, not code. Two protocols are the same study exactly if their digests are equal.
"""

import math
from dataclasses import dataclass, field, replace
from functools import cached_property

from wardround.common.checks import not_negative
from wardround.common.errors import PrivacyError, ProtocolError
from wardround.common.formats import canonical, digest, header
from wardround.common.privacy.events import DpEvent
from wardround.common.privacy.terms import PrivacyTerms, event_under
from wardround.common.study.evaluation import EvaluationTerms, check_evaluation, table_privacy, table_shape
from wardround.common.study.fairness import FairnessTerms
from wardround.common.study.monitoring import MonitoringTerms, check_monitoring
from wardround.common.study.outcomes import Outcome, SurvivalOutcome, outcome_kind
from wardround.common.study.schema import DRAFTED, Feature
from wardround.common.study.signedterms import plain_fields
from wardround.common.study.terms import (
    ROBUST,
    ROW_IS_PATIENT,
    CohortTerms,
    FederationTerms,
    InputTerms,
    ModelTerms,
    StudyTerms,
)

FORMAT = "wardround-study"
VERSION = 1

DEEPEST_PRIVATE = 2
"""Hidden layers for which one patient's influence was measured to stay within C whatever weights are crafted."""


@dataclass(frozen=True, kw_only=True)
class StudyProtocol:
    """All public terms of one study.

    Attributes:
        study: What the study asks, in words.
        outcome: What it predicts.
        features: The input columns, in the order of the model's inputs.
        cohort: Who can take part.
        privacy: How one release of one site is made private.
        inputs: The public feature path.
        model: The model.
        federation: How rounds run and updates are combined.
        fairness: How training cares for groups of patients and for the hospital served worst.
        evaluation: How the model is judged on held-out patients after the last round; None for not at all.
        monitoring: The released model that is evaluated again instead of training one; None for a study that trains.
        seed: Only with mechanism `none`: makes a run repeatable. A private run takes its randomness from the
            operating system and cannot be repeated.
    """

    study: StudyTerms
    outcome: Outcome
    features: tuple[Feature, ...]
    cohort: CohortTerms
    privacy: PrivacyTerms
    inputs: InputTerms = field(default_factory=InputTerms)
    model: ModelTerms = field(default_factory=ModelTerms)
    federation: FederationTerms = field(default_factory=FederationTerms)
    fairness: FairnessTerms = field(default_factory=FairnessTerms)
    evaluation: EvaluationTerms | None = None
    monitoring: MonitoringTerms | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        """Refuse sections that contradict each other.

        Raises:
            ProtocolError: A feature is listed twice, is the outcome, or a term does not fit the outcome.
            PrivacyError: A term that couples patients or fixes randomness meets a private mechanism.
        """
        names = [feature.name for feature in self.features]
        if not names or len(set(names)) != len(names):
            raise ProtocolError("features: list at least one, and none twice")
        if leaked := set(names) & set(self.outcome_columns):
            raise ProtocolError(f"features: {', '.join(sorted(leaked))} is the outcome itself")
        if self.cohort.patient_column in (*names, *self.outcome_columns):
            raise ProtocolError("cohort: the patient column is a feature or the outcome")
        if self.model.loss == "cox" and not isinstance(self.outcome, SurvivalOutcome):
            raise ProtocolError("model: loss 'cox' needs a survival outcome")
        if self.seed is not None:
            not_negative(seed=self.seed)
        self._check_modalities()
        self._check_quorum()
        self._check_first_round()
        self._check_fairness()
        if self.private:
            self._check_private()
        if self.joint:
            self._check_joint()
        if self.evaluation is not None:
            self._check_evaluation(self.evaluation)
        check_monitoring(self.monitoring, self.federation, evaluates=self.evaluation is not None)

    def _check_evaluation(self, terms: EvaluationTerms) -> None:
        if not self.private:
            raise ProtocolError(
                "evaluation: without a privacy mechanism a table would leave as it was counted",
                advice="leave [evaluation] out: a simulation without privacy evaluates exactly",
            )
        check_evaluation(terms, self.outcome, self.cohort.subgroups, self.cohort.test_fraction)
        both = {site.name for site in self.federation.sites} & set(terms.external_sites)
        if both:
            raise ProtocolError(f"evaluation: {', '.join(sorted(both))} cannot train and be external")

    def _check_first_round(self) -> None:
        if self.federation.first_round == "statistics" and self.privacy.mechanism != "joint-noise":
            raise ProtocolError(
                f"federation: first_round 'statistics' needs mechanism 'joint-noise', found {self.privacy.mechanism!r}",
                advice="leave first_round out; only a secure sum carries statistics",
            )

    def _check_fairness(self) -> None:
        terms = self.fairness
        if terms.groups and terms.group_column not in self.cohort.subgroups:
            raise ProtocolError(
                f"fairness: group_column {terms.group_column!r} is not one of cohort.subgroups",
                advice="list it there, so that the effect on each group is measured too",
            )
        if terms.groups and (self.model.loss == "cox" or self.federation.first_round == "statistics"):
            raise ProtocolError("fairness: group weights need the default loss and gradient rounds")
        if terms.worst_site_q and self.private:
            raise PrivacyError(
                "a worst-site objective multiplies a site's update by a number computed from its patients, which "
                "neither clipping nor noise covers",
                advice="use public group weights, or public federation.sites weights with 'site-noise'",
            )
        if terms.worst_site_q and self.federation.strategy != "fedavg":
            raise ProtocolError(
                f"fairness: worst_site_q needs strategy 'fedavg', found {self.federation.strategy!r}"
            )

    def _check_joint(self) -> None:
        """One clipped sum per round at q = 1: whatever else a site did in a round would see its share of noise only."""
        terms = self.federation
        if terms.local_steps != 1:
            raise PrivacyError(
                f"expected local_steps = 1 under joint-noise, found {terms.local_steps}",
                advice="after the first step a site's own later gradients are covered by its own share of noise only; "
                "use more rounds, or 'site-noise'",
            )
        if terms.strategy in ROBUST or terms.strategy == "fedprox":
            raise PrivacyError(
                f"strategy {terms.strategy!r} cannot be combined with joint-noise",
                advice="a secure sum shows no single update; use 'fedavg', 'fedavgm' or an adaptive strategy",
            )
        if any(site.weight != 1 for site in terms.sites):
            raise PrivacyError(
                "expected weight 1 for every site under joint-noise",
                advice="a weight scales a site's patients above the noise that was planned; sums need none",
            )
        listed = len(terms.sites)
        if listed and self.privacy.honest_sites >= listed:
            raise PrivacyError(
                f"expected honest_sites below the {listed} listed sites, found {self.privacy.honest_sites}",
                advice=f"at most {listed - 1}: a member subtracts its own noise and must not break the claim",
            )

    def _check_modalities(self) -> None:
        known = {feature.modality for feature in self.features}
        if unknown := sorted(set(self.cohort.optional_modalities) - known):
            raise ProtocolError(
                f"cohort: optional_modalities names {', '.join(unknown)}, which no feature has",
                advice=f"modalities of the features: {', '.join(sorted(known))}",
            )

    def _check_quorum(self) -> None:
        listed, quorum = len(self.federation.sites), self.federation.quorum
        if listed and quorum > listed:
            raise ProtocolError(f"federation: quorum {quorum} is above the {listed} listed sites")

    def _check_private(self) -> None:
        if self.cohort.patient_column == ROW_IS_PATIENT:
            raise PrivacyError(
                "a guarantee per patient needs to know which rows are one patient",
                advice="name an identifier in cohort.patient_column; rows stand for patients only without privacy",
            )
        if self.model.loss == "cox":
            raise PrivacyError(
                "the Cox partial likelihood couples patients, so no clipping bounds one patient's influence",
                advice="use the default loss: the discrete-time hazard decomposes per patient",
            )
        if len(self.model.hidden) > DEEPEST_PRIVATE:
            raise PrivacyError(
                f"expected at most {DEEPEST_PRIVATE} hidden layers under a privacy mechanism, "
                f"found {len(self.model.hidden)}",
                advice="crafted weights magnify rounding layer by layer; deeper, no bound on it was shown",
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
    def joint(self) -> bool:
        """Whether sites send masked shares of one sum instead of updates."""
        return self.privacy.mechanism == "joint-noise"

    def sums_statistics(self, round_: int) -> bool:
        """Whether a round sums second moments instead of gradients."""
        return self.federation.first_round == "statistics" and round_ == 1

    def evaluates(self, round_: int) -> bool:
        """Whether a round is the evaluation: the one after the last."""
        return self.evaluation is not None and round_ == self.federation.rounds + 1

    @property
    def external_sites(self) -> frozenset[str]:
        """Members that are evaluated and never train."""
        return frozenset(self.evaluation.external_sites if self.evaluation else ())

    def trains(self, site: str) -> bool:
        """Whether a site's patients train: not at an external site, and nowhere if a released model is monitored."""
        return self.monitoring is None and site not in self.external_sites

    @property
    def table_cells(self) -> int:
        """Numbers in the table of the evaluation; 0 without one."""
        return math.prod(table_shape(self.evaluation, self.outcome)) if self.evaluation else 0

    def attempts_of(self, round_: int) -> int:
        """The most attempts of a round; 0 for one that the study does not have."""
        if self.evaluation is not None and self.evaluates(round_):
            return self.evaluation.attempts
        return self.federation.attempts if 1 <= round_ <= self.federation.rounds else 0

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
        """The bytes that are signed: every term written out, defaults too, numbers as their shortest decimal.

        Terms that came later (`signedterms`) are written only where they differ from what was done before they existed,
        so that older studies keep their digest. A default that changes gives other bytes: it needs a new `VERSION`.
        """
        terms: dict[str, object] = {"outcome_kind": outcome_kind(self.outcome), **plain_fields(self)}
        return canonical({**header(FORMAT, VERSION), **terms})

    def reference_patients(self, site: str) -> int:
        """The public stand-in for a site's cohort size; never counted from patients."""
        for terms in self.federation.sites:
            if terms.name == site and terms.reference_patients:
                return terms.reference_patients
        return self.privacy.reference_patients

    def event(self) -> DpEvent:
        """What one release of one site costs."""
        return event_under(self.privacy, self.federation.local_steps)

    def privacy_of(self, round_: int) -> PrivacyTerms:
        """How what leaves in a round is made private: an update of training, or the table of the evaluation."""
        if self.evaluation is not None and self.evaluates(round_):
            return table_privacy(self.evaluation, self.outcome, self.privacy)
        return self.privacy

    def event_of(self, round_: int) -> DpEvent:
        """What one release of one site costs in a round."""
        return event_under(self.privacy_of(round_), 1) if self.evaluates(round_) else self.event()

    def with_privacy(self, terms: PrivacyTerms) -> "StudyProtocol":
        """The same study under other privacy terms: another protocol with another digest.

        Without a mechanism there is no private evaluation either.
        """
        private, joint = terms.mechanism != "none", terms.mechanism == "joint-noise"
        federation = self.federation if joint else replace(self.federation, first_round="gradients")
        return replace(
            self,
            privacy=terms,
            seed=None if private else self.seed,
            federation=federation,
            evaluation=self.evaluation if private else None,
        )
