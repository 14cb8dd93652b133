"""A hospital of canaries, and what an auditor who chose them sees of it.

Each canary is alone in a column, with a gradient far above the clipping norm, and is a patient with probability 1/2.
The production site answers T signed tasks from one base. A second study with next to no noise shows how often and with
how much each canary enters.

Source: the auditor who sees every step is that of Nasr et al. (2023), "Tight auditing of differentially private machine
learning"; canaries that are in by a coin are from Steinke et al. (2023).
"""

import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from wardround.common.checks import in_range, positive
from wardround.common.learning.exchange import unpack_update
from wardround.common.learning.models import like
from wardround.common.learning.parameters import Parameters
from wardround.common.privacy.calibration import noise_multiplier_for
from wardround.common.privacy.terms import PrivacyTerms
from wardround.common.study.outcomes import BinaryOutcome
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.schema import Feature
from wardround.common.study.terms import CohortTerms, FederationTerms, InputTerms, StudyTerms
from wardround.simulations.conformance import memory_folder
from wardround.simulations.conformancesite import Grounds, Moment
from wardround.simulations.run import Step

Floats = NDArray[np.float64]

SITE: Final = "audited"
_SILENT: Final = 300
_LOUDNESS: Final = 64.0
_CALM: Final = 2.0**-7
_CALM_ROUNDS: Final = 100
_CLIP: Final = 1.0
_REFERENCE: Final = 128
_BATCH: Final = 25  # rounds per child
_SOURCE: Final = "invented for an audit"
FULL: Final = _CLIP * _LOUDNESS / math.sqrt(_LOUDNESS**2 + 1)
"""What a canary adds to its own column; the rest of the clipping norm is in the intercept."""

_RESPONSE: Final = BinaryOutcome(column="response", positive=("yes",), negative=("no",), source=_SOURCE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What is audited.

    Attributes:
        epsilon: Claimed for all steps together, add or remove one patient.
        delta: Its delta.
        rate: q.
        steps: T.
        canaries: m.
        level: Probability with which each bound may be wrong.
    """

    epsilon: float
    delta: float = 1e-5
    rate: float = 0.1
    steps: int = 200
    canaries: int = 1000
    level: float = 0.05

    def __post_init__(self) -> None:
        """Refuse what cannot be audited.

        Raises:
            UsageError: Naming the number.
        """
        positive(epsilon=self.epsilon, steps=self.steps, rate=self.rate)
        in_range(0, 1, rate=self.rate)
        in_range(20, 20_000, canaries=self.canaries)
        in_range(1e-12, 0.1, delta=self.delta)
        in_range(1e-6, 0.5, level=self.level)

    @property
    def noise(self) -> float:
        """The noise multiplier with which a study would claim this epsilon."""
        return noise_multiplier_for(
            epsilon=self.epsilon, delta=self.delta, sample_rate=self.rate, steps=self.steps
        )

    @property
    def width(self) -> int:
        """Columns: the canaries' and silent ones."""
        return self.canaries + _SILENT

    def inside(self, seed: int) -> NDArray[np.bool_]:
        """Which canaries are patients."""
        return np.random.default_rng(seed).random(self.canaries) < 0.5

    def protocol(self, name: str, noise: float, rounds: int) -> StudyProtocol:
        """The public terms: a linear model, one step per round, an update that is the noisy sum itself."""
        names = [f"canary{number:05d}" for number in range(self.canaries)]
        names += [f"silent{number:05d}" for number in range(_SILENT)]
        return StudyProtocol(
            study=StudyTerms(name=name, question="How much epsilon is there?", purpose="audit"),
            outcome=_RESPONSE,
            features=tuple(
                Feature(name=one, kind="continuous", low=0.0, high=100.0, source=_SOURCE) for one in names
            ),
            cohort=CohortTerms(
                patient_column="patient", minimum_patients=1, minimum_per_class=0, test_fraction=0.0
            ),
            privacy=PrivacyTerms(
                mechanism="site-noise",
                clipping_norm=_CLIP,
                noise_multiplier=noise,
                sample_rate=self.rate,
                delta=self.delta,
                reference_patients=_REFERENCE,
                source=_SOURCE,
            ),
            inputs=InputTerms(clamp=_LOUDNESS, source=_SOURCE),
            federation=FederationTerms(rounds=rounds, attempts=1, learning_rate=self.rate * _REFERENCE),
        )

    def table(self, seed: int) -> pd.DataFrame:
        """The patients: every canary that is in, alone in its column."""
        chosen = np.flatnonzero(self.inside(seed))
        cells = np.full((len(chosen), self.width), "0", dtype=object)
        cells[np.arange(len(chosen)), chosen] = repr(_LOUDNESS)
        names = [feature.name for feature in self.protocol("table", 1.0, 1).features]
        frame = pd.DataFrame(cells, columns=names)
        frame.insert(0, "patient", [f"canary-{number:05d}" for number in chosen])
        return frame.assign(response=np.where(chosen % 2, "yes", "no").astype(object))


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What the auditor saw, in units of a canary's own full contribution and with its sign.

    Attributes:
        members: (steps, members) of canaries that were in.
        strangers: (steps, others) of those that were not.
        silent: (steps, silent columns).
        calm: (rounds, members), almost without noise.
    """

    members: Floats = field(repr=False)
    strangers: Floats = field(repr=False)
    silent: Floats = field(repr=False)
    calm: Floats = field(repr=False)


Release = Callable[[StudyProtocol, Parameters, int], Sequence[Parameters]]


def observe(claim: Claim, seed: int, release: Release) -> Observed:
    """Run the two studies.

    Args:
        claim: What is audited.
        seed: Of who is in; noise and sampling come from the operating system.
        release: Protocol, base and number of rounds -> an update per round.
    """
    inside = claim.inside(seed)
    found = {
        noise: _sums(claim, release, name, noise, rounds)
        for name, noise, rounds in (
            ("canary", claim.noise, claim.steps),
            ("canary-calm", _CALM, _CALM_ROUNDS),
        )
    }
    loud, calm = found.values()
    own = slice(None, claim.canaries)
    return Observed(
        members=loud[:, own][:, inside],
        strangers=loud[:, own][:, ~inside],
        silent=loud[:, claim.canaries :],
        calm=calm[:, own][:, inside],
    )


def _sums(claim: Claim, release: Release, name: str, noise: float, rounds: int) -> Floats:
    """Noisy sums per round, (rounds, width): canary i's own gradient is (1/2 - y) x, so its sign is turned."""
    protocol = claim.protocol(name, noise, rounds)
    base = {key: array.copy() for key, array in like(protocol, claim.width).items()}
    updates = release(protocol, base, rounds)
    sums = -np.stack([update["output.weight"][0] for update in updates]).astype(np.float64)
    sums[:, 1 : claim.canaries : 2] *= -1.0
    return np.asarray(sums / FULL)


def at_a_hospital(claim: Claim, seed: int, *, step: Step = lambda *_: None) -> Observed:
    """Observe the production site, entered as a coordinator enters it."""
    with tempfile.TemporaryDirectory(prefix="wardround-canary-", dir=memory_folder()) as folder:
        step("hospital joins", 0, claim.steps)
        grounds = Grounds(Path(folder), {SITE: claim.table(seed)})
        return observe(claim, seed, partial(_answers, grounds, step))


def _answers(
    grounds: Grounds, step: Step, protocol: StudyProtocol, base: Parameters, rounds: int
) -> list[Parameters]:
    grounds.admit(protocol, SITE)
    found: list[Parameters] = []
    for begin in range(1, rounds + 1, _BATCH):
        step(f"{protocol.study.name} {begin}", begin, rounds)
        some = [Moment(round=number) for number in range(begin, min(begin + _BATCH, rounds + 1))]
        replies = grounds.updates(SITE, protocol, base, some)
        found += [unpack_update(reply.envelope.body)[1] for reply in replies]
    return found
