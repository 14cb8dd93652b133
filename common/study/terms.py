"""The public terms of a study, section by section of `study.toml`.

Every class is frozen data with its own checks; reading TOML is in `reader`, the whole in `protocol`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

from wardround.common.checks import in_range, not_negative, one_of, positive
from wardround.common.errors import ProtocolError

Strategy = Literal[
    "fedavg", "fedavgm", "fedprox", "fedadam", "fedyogi", "fedadagrad", "trimmed-mean", "median", "krum"
]
STRATEGIES: Final[tuple[Strategy, ...]] = get_args(Strategy)
ROBUST: Final = frozenset({"trimmed-mean", "median", "krum"})
"""Strategies that look at each site's update, which a secure sum never shows."""


ROW_IS_PATIENT: Final = "#row"
"""A `patient_column` for public tables without identifiers: every row is read as a patient of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InputTerms:
    """The public feature path after each feature's own standardisation.

    Attributes:
        clamp: Standardised values are cut to [-clamp, clamp].
        norm: `unit` scales every patient's row to L2 norm 1, so that clipping rarely bites; `none` leaves it.
        loadings: Public file that maps features to components (first column the feature, then one column per
            component), relative to the protocol; empty for none.
        loadings_sha256: Digest of that file.
        source: Where the loadings come from.
    """

    clamp: float = 5.0
    norm: Literal["unit", "none"] = "none"
    loadings: str = ""
    loadings_sha256: str = ""
    source: str = "framework default"

    def __post_init__(self) -> None:
        """Refuse loadings without a digest."""
        positive(clamp=self.clamp)
        one_of(("unit", "none"), norm=self.norm)
        if bool(self.loadings) != bool(self.loadings_sha256):
            raise ProtocolError("inputs: a loadings file needs its loadings_sha256, and only then")


@dataclass(frozen=True, slots=True, kw_only=True)
class CohortTerms:
    """Who can take part.

    Attributes:
        patient_column: The patient identifier; rows with the same identifier are one privacy unit. `#row`, only
            with mechanism `none`: the table has no identifier, and every row is read as another patient.
        minimum_patients: Sites with fewer are left out, decided once before training.
        minimum_per_class: Smallest number of patients in each class that a site has (binary, classes), or of
            observed events (survival).
        optional_modalities: Assays that a whole site or a patient may lack; each gives one `present` input.
        test_fraction: Share of each site's patients kept out of training, chosen by hash of the patient.
        subgroups: Columns whose values name groups of patients in evaluations, e.g. sex.
    """

    patient_column: str
    minimum_patients: int = 20
    minimum_per_class: int = 1
    optional_modalities: tuple[str, ...] = ()
    test_fraction: float = 0.25
    subgroups: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse ranges that cannot be meant."""
        positive(minimum_patients=self.minimum_patients)
        not_negative(minimum_per_class=self.minimum_per_class)
        in_range(0.0, 0.9, test_fraction=self.test_fraction)


WIDEST_LAYER: Final = 8192  # units; with 20 000 inputs such a layer is 0.7 GB
MOST_LAYERS: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelTerms:
    """The model.

    Attributes:
        kind: `linear`, or `mlp` with LayerNorm (no affine, no buffers) and ReLU after each hidden layer.
        hidden: Widths of the hidden layers of an `mlp`.
        loss: `default` (cross-entropy, squared error, discrete-time hazard), or `cox` (partial likelihood;
            couples patients, therefore only with mechanism `none`).
        l2: Weight decay coefficient, a penalty on weights applied after any noise; intercepts and baseline hazards
            are not shrunk.
    """

    kind: Literal["linear", "mlp"] = "linear"
    hidden: tuple[int, ...] = ()
    loss: Literal["default", "cox"] = "default"
    l2: float = 0.0

    def __post_init__(self) -> None:
        """Refuse a linear model with hidden layers and the reverse."""
        one_of(("linear", "mlp"), kind=self.kind)
        one_of(("default", "cox"), loss=self.loss)
        not_negative(l2=self.l2)
        if (self.kind == "mlp") != bool(self.hidden):
            raise ProtocolError("model: `hidden` belongs to kind 'mlp', and it needs at least one width")
        for width in self.hidden:
            positive(hidden=width)
        if len(self.hidden) > MOST_LAYERS or max(self.hidden, default=0) > WIDEST_LAYER:
            raise ProtocolError(
                f"model: expected at most {MOST_LAYERS} hidden layers of at most {WIDEST_LAYER} units",
                advice="a larger model would fill the memory of whoever reviews the study",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteTerms:
    """Public terms of one named site.

    Attributes:
        name: As in the roster.
        weight: Public aggregation weight, > 0 (for instance its rounded, declared cohort size).
        reference_patients: Overrides the study's public stand-in for the cohort size; 0 keeps it.
    """

    name: str
    weight: float = 1.0
    reference_patients: int = 0

    def __post_init__(self) -> None:
        """Refuse a weight that would silence or invert a site."""
        positive(weight=self.weight)
        not_negative(reference_patients=self.reference_patients)


@dataclass(frozen=True, slots=True, kw_only=True)
class FederationTerms:
    """How rounds run and updates are combined.

    Attributes:
        strategy: How the admitted updates are combined into the next model.
        rounds: Completed rounds of the study.
        attempts: Largest number of attempts per round; each may cost privacy.
        quorum: Fewest admitted updates for a round to count; 0 means every site of the roster.
        local_steps: Optimiser steps at a site per round.
        batch_size: Patients per step without privacy; 0 is full batch. With `site-noise` the sample rate
            rules.
        learning_rate: Of the local steps.
        proximal_mu: FedProx penalty, applied to parameters after the noise.
        server_learning_rate: Of the server's optimiser (FedAdam, FedYogi, FedAdagrad; Reddi et al. 2021).
        beta1: First-moment decay of the server's optimiser, without bias correction; the momentum of `fedavgm`.
        beta2: Second-moment decay of the server's optimiser, without bias correction.
        tau: Adaptivity constant of the server's optimiser, > 0.
        trim: Share of values cut at each end by `trimmed-mean`.
        byzantine: Number of faulty sites that `krum` assumes.
        average_last: The released model is the mean of the models of this many last rounds; 1 is the last alone.
        first_round: Under `joint-noise` what round 1 sums: `gradients`, or `statistics`, one noisy sum of second
            moments from which the server solves a ridge regression or linear discriminant. With `rounds = 1` that
            is the whole study; otherwise it is where the gradient rounds start.
        sites: Public terms per site; empty means every site of the roster with weight 1.
    """

    strategy: Strategy = "fedavg"
    rounds: int = 30
    attempts: int = 3
    quorum: int = 0
    local_steps: int = 1
    batch_size: int = 0
    learning_rate: float = 1.0
    proximal_mu: float = 0.0
    server_learning_rate: float = 1.0
    beta1: float = 0.9
    beta2: float = 0.999
    tau: float = 1e-8
    trim: float = 0.2
    byzantine: int = 1
    average_last: int = 1
    first_round: Literal["gradients", "statistics"] = "gradients"
    sites: tuple[SiteTerms, ...] = ()

    def __post_init__(self) -> None:
        """Refuse unknown strategies, repeated sites and numbers out of range."""
        one_of(STRATEGIES, strategy=self.strategy)
        one_of(("gradients", "statistics"), first_round=self.first_round)
        not_negative(rounds=self.rounds)
        positive(attempts=self.attempts, local_steps=self.local_steps, average_last=self.average_last)
        in_range(1, max(1, self.rounds), average_last=self.average_last)
        positive(
            learning_rate=self.learning_rate, server_learning_rate=self.server_learning_rate, tau=self.tau
        )
        not_negative(
            quorum=self.quorum,
            batch_size=self.batch_size,
            proximal_mu=self.proximal_mu,
            byzantine=self.byzantine,
        )
        in_range(0.0, 0.49, trim=self.trim)
        in_range(0.0, 0.9999999, beta1=self.beta1, beta2=self.beta2)
        names = [site.name for site in self.sites]
        if len(set(names)) != len(names):
            raise ProtocolError("federation: a site is listed twice")

    def weights(self, roster: tuple[str, ...]) -> Mapping[str, float]:
        """The public weight of each site of a roster, in its order.

        Raises:
            ProtocolError: The protocol lists sites, and one of the roster is not among them.
        """
        if not self.sites:
            return dict.fromkeys(roster, 1.0)
        listed = {site.name: site.weight for site in self.sites}
        missing = [name for name in roster if name not in listed]
        if missing:
            raise ProtocolError(
                f"the protocol lists no weight for {', '.join(missing)}",
                advice="add a [[federation.sites]] entry for each, or list none at all",
            )
        return {name: listed[name] for name in roster}


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyTerms:
    """What the study asks, in words.

    Attributes:
        name: Short, letters, digits and hyphens; names the study in logs and ledgers.
        question: The clinical question.
        purpose: The purpose that patients' consent must cover.
        intended_use: What the model may be used for; assistive, never a decision of its own.
        notes: Anything a reviewer should know, e.g. which columns were left out and why.
    """

    name: str
    question: str
    purpose: str
    intended_use: str = "research; assists a clinician's judgement, never replaces it"
    notes: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        """Refuse a name that cannot be a file name."""
        if not self.name or not self.name.replace("-", "").isalnum() or not self.name.isascii():
            raise ProtocolError(f"study name {self.name!r}: use letters, digits and hyphens")
