"""The experiments of `wardround audit attack`: each attack on the raw update, on site noise, and on joint noise.

Numbers, not verdicts: an attack that fails shows what this attack cannot do, never that nobody could. What bounds
every attack is epsilon, and that the installed code keeps it is for `conform`.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wardround.common.errors import UsageError
from wardround.common.learning.data import PatientRows
from wardround.common.learning.metrics import auc
from wardround.common.learning.models import initial
from wardround.common.learning.parameters import Parameters
from wardround.simulations.attackcohort import SITES, Attacked, Training, summed, update
from wardround.simulations.attackmembers import Membership, Shadows, by_loss, confidence, trained
from wardround.simulations.attacks import (
    WEIGHT,
    WeakNoise,
    guesses,
    inverted,
    recovered,
    residuals,
    seed_of,
    trap,
)
from wardround.simulations.run import Step

SEED_BITS: Final = 14
RELEASES: Final = 10
"""Rounds of the study of which an attacked update is one: epsilon is for all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One number of one experiment.

    Attributes:
        attack: Which.
        seen: What the server sees.
        measure: Of success.
        value: Its value; for AUC .5 is a guess.
        note: What else one should know.
    """

    attack: str
    seen: str
    measure: str
    value: float
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is attacked how.

    Attributes:
        cohort: The patients.
        epsilon: Of the private arms, all `RELEASES` rounds together.
        seed: Of everything but noise.
        shadows: Models that LiRA trains.
    """

    cohort: Attacked
    epsilon: float = 8.0
    seed: int = 0
    shadows: int = 16

    def arms(self) -> dict[str, Training]:
        """What the server sees -> how it came about: one round of `RELEASES`."""
        private = Training(epsilon=self.epsilon, rounds=RELEASES)
        return {
            "raw update, one step": Training(),
            "raw update, five epochs": Training(
                steps=5 * -(-self.cohort.members.n_patients // 32), batch=32, rate=0.1
            ),
            self.noisy("site-noise"): replace(private, mechanism="site-noise"),
            self.noisy("joint-noise"): replace(private, mechanism="joint-noise"),
        }

    def noisy(self, mechanism: str) -> str:
        """The name of a private arm."""
        return f"{mechanism}, epsilon {self.epsilon:g}"

    def base(self, training: Training) -> Parameters:
        """The public first model."""
        return initial(training.protocol(self.cohort, self.cohort.members.n_patients), self.cohort.width)


def span(plan: Plan) -> Iterator[Result]:
    """Membership from the row space of the first layer."""
    members, strangers = (one_row_each(rows) for rows in (plan.cohort.members, plan.cohort.strangers))
    arms = plan.arms()
    seen = {
        name: update(plan.cohort, arm, plan.base(arm), plan.cohort.members, seed=plan.seed)
        for name, arm in arms.items()
    }
    parts = np.array_split(np.arange(plan.cohort.members.n_patients), SITES)
    raw = Training()
    updates = [
        update(plan.cohort, raw, plan.base(raw), plan.cohort.members.take(part), seed=plan.seed)
        for part in parts
    ]
    seen[f"sum of {SITES} sites without noise"] = summed(updates)
    for name, found in seen.items():
        value = _auc(residuals(found, members), residuals(found, strangers))
        yield Result(attack="span", seen=name, measure="membership AUC", value=value)
        count, _ = recovered(guesses(found), members)
        yield Result(attack="span", seen=name, measure="records recovered", value=count)


def inversion(plan: Plan) -> Iterator[Result]:
    """The record of a patient who trains alone."""
    alone = plan.cohort.members.take(np.array([0]))
    record = alone.inputs[0].astype(np.float64)
    for name, arm in plan.arms().items():
        if arm.mechanism == "joint-noise":
            continue  # a sum over sites is not one patient's
        one = replace(arm, steps=1, batch=0)
        found = update(plan.cohort, one, plan.base(one), alone, seed=plan.seed)
        error = float(np.linalg.norm(inverted(found) - record) / np.linalg.norm(record))
        if "epochs" not in name:
            yield Result(attack="inversion", seen=name, measure="relative error of the record", value=error)


def traps(plan: Plan) -> Iterator[Result]:
    """A server that sends crafted weights."""
    rng = np.random.default_rng(plan.seed)
    members = one_row_each(plan.cohort.members)
    for name, arm in plan.arms().items():
        if arm.steps > 1:
            continue
        base = trap(plan.base(arm), plan.cohort.public.inputs, len(members), rng)
        found = update(plan.cohort, arm, base, plan.cohort.members, seed=plan.seed)
        count, best = recovered(guesses(found), members)
        note = f"of {len(members)}; best cosine {best:.3f}"
        yield Result(attack="trap", seen=name, measure="records recovered", value=count, note=note)


def membership(plan: Plan) -> Iterator[Result]:
    """Who trained the released model."""
    usual = Training(hidden=(64,), steps=40, rate=0.5)
    arms = {
        "final model without privacy": usual,
        f"final model, {plan.noisy('site-noise')}": replace(
            usual, mechanism="site-noise", epsilon=plan.epsilon
        ),
    }
    cohort, n = plan.cohort, plan.cohort.members.n_patients
    for name, arm in arms.items():
        model = trained(cohort, arm, cohort.members, seed=0)
        scores = [confidence(cohort, arm, model, rows) for rows in (cohort.members, cohort.strangers)]
        found = {"loss": by_loss(*scores)}
        shadows = Shadows.train(cohort, arm, plan.shadows, np.random.default_rng(plan.seed))
        ratio = shadows.ratio(np.concatenate(scores))
        found[f"LiRA, {plan.shadows} shadow models"] = Membership.of(ratio[:n], ratio[n:])
        for how, result in found.items():
            note = f"{how}; {result.hit_rate:.1%} of members found at 1% false alarms"
            yield Result(
                attack="membership", seen=name, measure="membership AUC", value=result.auc, note=note
            )


def generator(plan: Plan) -> Iterator[Result]:
    """Noise from a generator with few seeds, and from the installed one."""
    cohort = _with_absent_inputs(plan.cohort)
    raw, noisy = Training(), plan.arms()[plan.noisy("site-noise")]
    base = plan.base(raw)
    exact = update(cohort, raw, base, cohort.members, seed=plan.seed)
    weak = WeakNoise(seed=int(np.random.default_rng(plan.seed).integers(2**SEED_BITS)), deviation=0.01)
    begun = time.process_time()
    guess = seed_of(weak.added(exact), weak.deviation, 2**SEED_BITS, _ABSENT)
    spent = time.process_time() - begun
    tried = (guess if guess is not None else 2**SEED_BITS) + 1
    note = f"torch's generator; its 2^32 seeds would take {2**32 * spent / tried / 3600:.0f} hours of one core at most"
    seen = f"noise from one of 2^{SEED_BITS} seeds"
    yield Result(
        attack="generator", seen=seen, measure="seed found", value=float(guess == weak.seed), note=note
    )
    if guess is not None:
        stripped = _stripped(weak, guess, weak.added(exact))
        pair = (one_row_each(rows) for rows in (cohort.members, cohort.strangers))
        members, strangers = (residuals(stripped, records, rank=len(records)) for records in pair)
        value = _auc(members, strangers)
        yield Result(attack="generator", seen=f"{seen}, taken off", measure="membership AUC", value=value)
    found = update(cohort, noisy, base, cohort.members, seed=plan.seed)
    deviation = float(found[WEIGHT].std())
    tried_all = seed_of(found, deviation, 2**SEED_BITS, _ABSENT)
    yield Result(
        attack="generator",
        seen=plan.noisy("site-noise"),
        measure="seed found",
        value=float(tried_all is not None),
        note="the installed generator has a 256-bit key from the operating system and no seed",
    )


_ABSENT: Final = 2


def _with_absent_inputs(cohort: Attacked) -> Attacked:
    """The first inputs are zero for everybody, as of genes that are not on a hospital's panel."""
    return replace(cohort, members=_without_first(cohort.members), strangers=_without_first(cohort.strangers))


def _without_first(rows: PatientRows) -> PatientRows:
    inputs = rows.inputs.copy()
    inputs[:, :_ABSENT] = 0.0
    return replace(rows, inputs=inputs)


def _stripped(weak: WeakNoise, seed: int, noisy: Parameters) -> Parameters:
    zero = {name: np.zeros_like(array) for name, array in noisy.items()}
    noise = replace(weak, seed=seed).added(zero)
    return {name: noisy[name] - noise[name] for name in noisy}


def one_row_each(rows: PatientRows) -> NDArray[np.float32]:
    """The first row of each patient."""
    return rows.inputs[np.searchsorted(rows.patient, np.arange(rows.n_patients))]


def _auc(members: NDArray[np.float64], strangers: NDArray[np.float64]) -> float:
    """Members lie nearer."""
    truth = np.repeat([1.0, 0.0], [len(members), len(strangers)])
    return float(auc(truth, -np.concatenate([members, strangers])))


ATTACKS: Final[Mapping[str, Callable[[Plan], Iterator[Result]]]] = {
    "span": span,
    "inversion": inversion,
    "trap": traps,
    "generator": generator,
    "membership": membership,
}
"""Name -> experiment, the quick ones first."""


def attack(
    plan: Plan, names: Sequence[str] = tuple(ATTACKS), *, step: Step = lambda *_: None
) -> list[Result]:
    """Run experiments.

    Raises:
        UsageError: One is unknown.
    """
    if unknown := sorted(set(names) - set(ATTACKS)):
        raise UsageError(f"no attack {unknown[0]!r}", advice=f"attacks: {', '.join(ATTACKS)}")
    found: list[Result] = []
    for number, name in enumerate(names):
        step(name, number, len(names))
        found += ATTACKS[name](plan)
    step("done", len(names), len(names))
    return found


def as_fields(results: Sequence[Result]) -> list[dict[str, object]]:
    """For JSON; values as they are."""
    return [asdict(result) for result in results]


def in_words(results: Sequence[Result]) -> str:
    """A table for a terminal."""
    lines = [f"{'attack':12}{'what the server sees':44}{'measure':30}{'value':>10}"]
    for result in results:
        value = f"{result.value:.3g}"
        lines.append(
            f"{result.attack:12}{result.seen:44}{result.measure:30}{value:>10}  {result.note}".rstrip()
        )
    return "\n".join(lines)
