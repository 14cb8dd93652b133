"""The studies of a conformance run: what is asked of the hospitals, and the checks that follow."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from wardround.common.learning.exchange import unpack_update
from wardround.common.learning.models import initial, like
from wardround.common.learning.parameters import Parameters, from_bytes, to_bytes
from wardround.common.privacy.jointnoise import grid_of, opened_sum
from wardround.common.study.protocol import StudyProtocol
from wardround.simulations import conformancelaws as laws
from wardround.simulations.conformancepatients import (
    CALM,
    CLIP,
    PATIENTS,
    RATE,
    SUBTYPE,
    WIDTH,
    WITH,
    WITHOUT,
    Asked,
)
from wardround.simulations.conformancesite import PEERS, Grounds, Reply, in_a_child
from wardround.simulations.conformancestats import Check, Floats

_OVERFLOWING: Final = PATIENTS + 1
_SILENT: Final = PATIENTS + 2

NOISY: Final = Asked(name="noise", hidden=(128,), rounds=12)
STEPS: Final = Asked(name="steps", hidden=(64,), steps=3, rounds=8, slowness=64.0)
CALMED: Final = Asked(name="clipping", noise=CALM, rounds=4)
LAYERS: Final = Asked(name="layers", noise=CALM, rounds=3, hidden=(32,))
CRAFTED: Final = Asked(name="crafted", noise=CALM, rounds=2, outcome=SUBTYPE, clamp=1e36)
SAMPLED: Final = Asked(name="sampling", noise=CALM, rate=RATE, rounds=24)
EPOCHS: Final = Asked(name="epochs", noise=CALM, rate=RATE, rounds=40, steps=4, slowness=2.0**20)
JOINT: Final = Asked(name="joint-noise", mechanism="joint-noise", hidden=(128,), rounds=4)
JOINT_CALM: Final = Asked(name="joint-clipping", mechanism="joint-noise", noise=CALM, rounds=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One reply that was looked at, for the checks of what else leaves."""

    asked: Asked
    site: str
    round: int
    reply: Reply = field(repr=False)


class Examination:
    """A conformance run at work.

    Args:
        grounds: The hospitals.

    Attributes:
        seen: Every reply so far.
    """

    def __init__(self, grounds: Grounds) -> None:
        self.grounds = grounds
        self.seen: list[Seen] = []
        self._admitted: set[str] = set()

    def admit(self, asked: Asked) -> StudyProtocol:
        """The study's protocol, approved by both hospitals."""
        protocol = asked.protocol()
        if asked.name not in self._admitted:
            self.grounds.admit(protocol, WITHOUT, WITH)
            self._admitted.add(asked.name)
        return protocol

    def sums(
        self, asked: Asked, site: str, rounds: Sequence[int], base: Parameters | None = None
    ) -> list[dict[str, Floats]]:
        """What a hospital releases under site-noise: noisy sums of gradients, by layer, float64."""
        protocol = self.admit(asked)
        model = first_model(protocol) if base is None else base
        replies = self.grounds.updates(site, protocol, model, rounds)
        found = []
        for round_, reply in zip(rounds, replies, strict=True):
            self.seen.append(Seen(asked=asked, site=site, round=round_, reply=reply))
            _, update = unpack_update(reply.envelope.body)
            found.append({name: asked.summed(array) for name, array in update.items()})
        return found

    def shares(self, asked: Asked, site: str, rounds: Iterable[int]) -> list[Floats]:
        """What a hospital adds to a secure sum under joint noise, in units of the gradient."""
        protocol = self.admit(asked)
        base = first_model(protocol)
        found = []
        for round_ in rounds:
            reply, words = self.grounds.share(site, protocol, base, round_)
            self.seen.append(Seen(asked=asked, site=site, round=round_, reply=reply))
            found.append(opened_sum(protocol.privacy, words, sites=1 + len(PEERS)))
        return found


def first_model(protocol: StudyProtocol) -> Parameters:
    """The public first model, made in a child: this process never computes with torch."""
    return from_bytes(in_a_child(lambda: to_bytes(initial(protocol, WIDTH))))


def noise(exam: Examination) -> Iterator[Check]:
    """Noise like a real study's: its scale in every layer, its law, and whether any of it comes twice.

    Three rounds have a child of their own each, as in a deployment; the others share one, as in a simulation.
    """
    apart = [release for round_ in (1, 2, 3) for release in exam.sums(NOISY, WITHOUT, [round_])]
    ordinary = [*apart, *exam.sums(NOISY, WITHOUT, range(4, NOISY.rounds))]
    last = [NOISY.rounds]
    image = exam.grounds.restored(WITHOUT, lambda: exam.sums(NOISY, WITHOUT, last))
    del exam.seen[-1]  # the restored hospital knows nothing of it
    elsewhere = [*image, *exam.sums(NOISY, WITHOUT, last), *exam.sums(NOISY, WITH, (1, 2))]
    pure = np.stack([_silent(release) for release in (*ordinary, *elsewhere)])
    yield from laws.noise(NOISY.name, pure / NOISY.deviation)
    yield from laws.every_layer(NOISY.name, [_others(release, NOISY.deviation) for release in ordinary])


def steps(exam: Examination) -> Iterator[Check]:
    """Several local steps: each draws its own noise."""
    found = exam.sums(STEPS, WITHOUT, range(1, STEPS.rounds + 1))
    pure = np.stack([_silent(release) for release in found]) / (STEPS.deviation * math.sqrt(STEPS.steps))
    yield laws.scale(STEPS.name, pure, "noise of several steps")


def clipping(exam: Examination) -> Iterator[Check]:
    """A linear model at zero, where each patient's part is known: bound, divisor, grid, one patient more."""
    rounds = range(1, CALMED.rounds + 1)
    fewer, more = (_linear(exam.sums(CALMED, site, rounds)) for site in (WITHOUT, WITH))
    yield from laws.clipped(CALMED, fewer[:, :PATIENTS], fewer[:, -1], CALMED.deviation)
    yield laws.scale(CALMED.name, fewer[:, _SILENT:-1] / CALMED.deviation)
    yield laws.grid(CALMED, fewer)
    own = (PATIENTS, _OVERFLOWING, WIDTH)
    yield from laws.one_patient_more(CALMED, fewer, more, own, CALMED.deviation)


def layers(exam: Examination) -> Iterator[Check]:
    """The same bound where a patient's gradient spreads over layers."""
    rounds = range(1, LAYERS.rounds + 1)
    found = {site: exam.sums(LAYERS, site, rounds) for site in (WITHOUT, WITH)}
    fewer, more = (np.stack([_flat(release) for release in releases]) for releases in found.values())
    influence, _ = laws.one_patient_more(LAYERS, fewer, more, (), LAYERS.deviation)
    yield influence
    silent = np.stack([_silent(release) for releases in found.values() for release in releases])
    yield laws.scale(LAYERS.name, silent / LAYERS.deviation)


def crafted(exam: Examination) -> Iterator[Check]:
    """Weights under which the last patient's gradient is not a number: its part is nothing, the others' unharmed."""
    protocol = exam.admit(CRAFTED)
    base = {name: array.copy() for name, array in like(protocol, WIDTH).items()}
    base["output.weight"][:, _OVERFLOWING] = (1e4, 1e4, -1e4)
    rounds = range(1, CRAFTED.rounds + 1)
    fewer, more = (
        np.stack([_flat(release) for release in exam.sums(CRAFTED, site, rounds, base)])
        for site in (WITHOUT, WITH)
    )
    influence, _ = laws.one_patient_more(CRAFTED, fewer, more, (), CRAFTED.deviation)
    yield replace(influence, claim="a gradient that overflows moves the sum by at most the clipping norm")


def sampling(exam: Examination) -> Iterator[Check]:
    """Poisson sampling step by step, where each patient is seen."""
    found = _linear(exam.sums(SAMPLED, WITHOUT, range(1, SAMPLED.rounds + 1)))
    yield from laws.sampled(SAMPLED, found[:, :PATIENTS], SAMPLED.deviation)
    yield laws.scale(SAMPLED.name, found[:, _SILENT:-1] / SAMPLED.deviation)


def epochs(exam: Examination) -> Iterator[Check]:
    """Poisson sampling over as many local steps as an epoch of shuffled batches would have."""
    found = _linear(exam.sums(EPOCHS, WITHOUT, range(1, EPOCHS.rounds + 1)))
    spread = EPOCHS.deviation * math.sqrt(EPOCHS.steps)
    yield from laws.sampled(EPOCHS, found[:, :PATIENTS], spread)
    yield laws.scale(EPOCHS.name, found[:, _SILENT:-1] / spread)


def joint(exam: Examination) -> Iterator[Check]:
    """One hospital's share of a joint noise, inside a secure sum whose other members add nothing."""
    protocol = exam.admit(JOINT)
    shapes = like(protocol, WIDTH)
    found = [_shaped(share, shapes) for share in exam.shares(JOINT, WITHOUT, range(1, JOINT.rounds + 1))]
    deviation = _share_deviation(JOINT, protocol, shapes)
    yield from laws.noise(JOINT.name, np.stack([_silent(release) for release in found]) / deviation)
    yield from laws.every_layer(JOINT.name, [_others(release, deviation) for release in found])


def joint_clipping(exam: Examination) -> Iterator[Check]:
    """What each patient adds to a share."""
    protocol = exam.admit(JOINT_CALM)
    deviation = _share_deviation(JOINT_CALM, protocol, like(protocol, WIDTH))
    rounds = range(1, JOINT_CALM.rounds + 1)
    fewer, more = (np.stack(exam.shares(JOINT_CALM, site, rounds)) for site in (WITHOUT, WITH))
    yield from laws.clipped(JOINT_CALM, fewer[:, :PATIENTS], fewer[:, -1], deviation)
    own = (PATIENTS, _OVERFLOWING, WIDTH)
    yield from laws.one_patient_more(JOINT_CALM, fewer, more, own, deviation)


def _share_deviation(asked: Asked, protocol: StudyProtocol, shapes: Parameters) -> float:
    """Z C' / sqrt(h): what any h shares together need, C' = C (1 + 2^-10) + step * sqrt(d) as documented."""
    values = sum(array.size for array in shapes.values())
    step = grid_of(protocol.privacy, sites=1 + len(PEERS), coordinates=values).step
    sensitivity = CLIP * (1 + 2.0**-10) + step * math.sqrt(values)
    return asked.noise * sensitivity / math.sqrt(protocol.privacy.honest_sites)


def _silent(release: Mapping[str, Floats]) -> Floats:
    return release["hidden1.weight"][:, _SILENT:].ravel()


def _others(release: Mapping[str, Floats], deviation: float) -> dict[str, Floats]:
    kept = {**release, "hidden1.weight": release["hidden1.weight"][:, :_SILENT]}
    return {name: array / deviation for name, array in kept.items()}


def _linear(releases: Sequence[Mapping[str, Floats]]) -> Floats:
    """Weights, then the intercept: (releases, WIDTH + 1)."""
    return np.stack([np.append(release["output.weight"], release["output.bias"]) for release in releases])


def _flat(release: Mapping[str, Floats]) -> Floats:
    return np.concatenate([array.ravel() for array in release.values()])


def _shaped(vector: Floats, shapes: Parameters) -> dict[str, Floats]:
    """A flat vector by layer; `from_vector` would round it to float32."""
    ends = np.cumsum([array.size for array in shapes.values()])
    parts = np.split(vector, ends[:-1])
    return {
        name: part.reshape(array.shape) for (name, array), part in zip(shapes.items(), parts, strict=True)
    }


STUDIES: Final[Mapping[str, Callable[[Examination], Iterator[Check]]]] = {
    NOISY.name: noise,
    STEPS.name: steps,
    CALMED.name: clipping,
    LAYERS.name: layers,
    CRAFTED.name: crafted,
    SAMPLED.name: sampling,
    EPOCHS.name: epochs,
    JOINT.name: joint,
    JOINT_CALM.name: joint_clipping,
}
"""Name -> what is asked and checked."""
