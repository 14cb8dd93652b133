"""A conformance run at work: what is asked of the hospitals, what comes back, and every message that left them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from wardround.common.learning.exchange import UPDATE, Receipt, unpack_update
from wardround.common.learning.models import initial
from wardround.common.learning.parameters import Parameters, from_bytes, parameters_digest, to_bytes
from wardround.common.privacy.jointnoise import opened_sum
from wardround.common.study.protocol import StudyProtocol
from wardround.common.trust.sumroster import AGREED, MASKED, READY
from wardround.common.trust.sumwire import Masked
from wardround.simulations.conformancechild import in_a_child
from wardround.simulations.conformancepatients import FIRST_SILENT, WIDTH, Asked
from wardround.simulations.conformancesite import PEERS, Grounds, Moment, Reply
from wardround.simulations.conformancestats import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One message of a hospital, for the checks of what else leaves.

    Attributes:
        asked: The study.
        site: The hospital.
        moment: Round and attempt.
        base: Digest of the model that was sent.
        values: How many numbers the sum has.
        kind: What it must be.
        reply: What left.
    """

    asked: Asked
    site: str
    moment: Moment
    base: str
    values: int
    kind: str = UPDATE
    reply: Reply = field(repr=False)

    @property
    def releases(self) -> bool:
        """Whether it holds anything of patients, and so must be charged."""
        return self.kind in (UPDATE, MASKED)

    def receipt(self) -> Receipt:
        """Of a reply that releases something."""
        body = self.reply.envelope.body
        if self.kind == MASKED:
            return Receipt.from_bytes(Masked.unpack(body, self.values).receipt)
        return unpack_update(body)[0]


class Examination:
    """A conformance run at work.

    Args:
        grounds: The hospitals.

    Attributes:
        seen: Every message so far.
    """

    def __init__(self, grounds: Grounds) -> None:
        self.grounds = grounds
        self.seen: list[Seen] = []
        self._models: dict[str, Parameters] = {}
        self._admitted: set[tuple[str, str]] = set()

    def admit(self, asked: Asked, site: str) -> StudyProtocol:
        """The study's protocol, approved by the hospital."""
        protocol = asked.protocol()
        if (asked.name, site) not in self._admitted:
            self.grounds.admit(protocol, site)
            self._admitted.add((asked.name, site))
        return protocol

    def first(self, asked: Asked) -> Parameters:
        """The study's public first model, made in a child: this process never computes with torch."""
        protocol = asked.protocol()
        if asked.name not in self._models:
            self._models[asked.name] = from_bytes(in_a_child(lambda: to_bytes(initial(protocol, WIDTH))))
        return {name: array.copy() for name, array in self._models[asked.name].items()}

    def sums(
        self, asked: Asked, site: str, moments: Sequence[Moment], base: Parameters | None = None
    ) -> list[dict[str, Floats]]:
        """What a hospital releases under site-noise: noisy sums of gradients, by layer, float64."""
        protocol = self.admit(asked, site)
        model = self.first(asked) if base is None else base
        replies = self.grounds.updates(site, protocol, model, moments)
        found = []
        for moment, reply in zip(moments, replies, strict=True):
            _, update = unpack_update(reply.envelope.body)
            values = sum(array.size for array in update.values())
            named = parameters_digest(model)
            self.seen.append(
                Seen(asked=asked, site=site, moment=moment, base=named, values=values, reply=reply)
            )
            found.append({name: asked.summed(array) for name, array in update.items()})
        return found

    def shares(self, asked: Asked, site: str, moments: Iterable[Moment], length: int) -> list[Floats]:
        """What a hospital adds to a secure sum of some length under joint noise, in units of the gradient."""
        protocol = self.admit(asked, site)
        base = self.first(asked)
        found = []
        for moment in moments:
            replies, words = self.grounds.share(site, protocol, base, moment, length=length)
            self.seen += [
                Seen(
                    asked=asked,
                    site=site,
                    moment=moment,
                    base=parameters_digest(base),
                    values=length,
                    kind=kind,
                    reply=reply,
                )
                for kind, reply in zip((READY, AGREED, MASKED), replies, strict=True)
            ]
            found.append(opened_sum(protocol.privacy, words, sites=1 + len(PEERS)))
        return found


def silent(release: Mapping[str, Floats]) -> Floats:
    """Where noise is alone."""
    return release["hidden1.weight"][:, FIRST_SILENT:].ravel()


def others(release: Mapping[str, Floats], deviation: float) -> dict[str, Floats]:
    """Everything else, in standard deviations."""
    kept = {**release, "hidden1.weight": release["hidden1.weight"][:, :FIRST_SILENT]}
    return {name: array / deviation for name, array in kept.items()}


def flat(release: Mapping[str, Floats]) -> Floats:
    """All values of a release."""
    return np.concatenate([array.ravel() for array in release.values()])
