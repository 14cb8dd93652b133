"""What leaves a hospital in a study, message by message, with shapes and sizes: computed from public terms alone.

Sizes are those of the sealed envelopes that this release sends, taken from the same functions that make them, with
the largest round and attempt. The transport adds its own frame; no patient changes any of these numbers.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, cast

import numpy as np

from wardround.client.consenting import Consent, approval_statement
from wardround.common.learning import exchange
from wardround.common.learning.evaluated import TABLE
from wardround.common.learning.models import like
from wardround.common.learning.statistics import size
from wardround.common.privacy.events import encode
from wardround.common.study.parts import parts
from wardround.common.study.protocol import StudyProtocol
from wardround.common.trust.agreement import (
    HYBRID,
    MLKEM_CIPHERTEXT_SIZE,
    EphemeralKeys,
    installed_suites,
)
from wardround.common.trust.checkpoint import Checkpoint, cosign, origin
from wardround.common.trust.envelope import Header, seal
from wardround.common.trust.identity import Roster, SigningKey
from wardround.common.trust.ledgerline import Entry
from wardround.common.trust.merkle import HASH_SIZE
from wardround.common.trust.signed import day, utc_now
from wardround.common.trust.sumroster import (
    AGREED,
    MASKED,
    READY,
    Ready,
    SumContext,
    SumRoster,
    agreed_body,
    ready_body,
    recipients,
)
from wardround.common.trust.sumwire import Masked
from wardround.common.trust.witness import answer

LONGEST_LEDGER: Final = 999_999
"""Entries of a ledger, lines of a log, or a roster's version, for the size of a message."""

_ANY: Final = "0" * 64  # a digest
_CHARGE: Final = "what it cost, number and hash of the ledger's last entry"
_COST: Final = f"{_CHARGE}, this site's signature under the study's log"
_RUN: Final = "0" * 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Array:
    """Numbers in a message: name, shape, and type."""

    name: str
    shape: tuple[int, ...]
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaving:
    """One kind of message from this site.

    Attributes:
        kind: As in the envelope.
        when: How often, in words.
        what: What it tells, in words.
        arrays: The numbers in it; only they depend on patients.
        most: Bytes of its envelope, at most.
        times: How many can leave in the study, at most; 0 where the coordinator may ask as often as it likes and
            gets the same answer.
    """

    kind: str
    when: str
    what: str
    arrays: tuple[Array, ...] = field(default=())
    most: int
    times: int = 0


def leaving(protocol: StudyProtocol, *, width: int, roster: Roster, site: str) -> tuple[Leaving, ...]:
    """Every kind of message that can leave, in the order of a study.

    Args:
        protocol: The study.
        width: Inputs of the model.
        roster: The members.
        site: This site.
    """
    scribe = _Scribe(protocol=protocol, width=width, roster=roster, site=site)
    return tuple(scribe.messages())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scribe:
    """Seals messages of the study's shapes without any patient, to see how long they are."""

    protocol: StudyProtocol
    width: int
    roster: Roster
    site: str
    key: SigningKey = field(default_factory=SigningKey.generate, repr=False)

    def messages(self) -> Iterator[Leaving]:
        yield Leaving(
            kind=exchange.PRESENT,
            when="when the coordinator calls the roll",
            what="that this site is there, and its signed approval: study, members, price and delta, number, hash and "
            "day of the ledger's reservation, digest and release of the installed code; how many lines of the study's "
            "log it signed last",
            most=self._sealed(exchange.PRESENT, self._approval(), log=answer(LONGEST_LEDGER)),
        )
        if self.protocol.trains(self.site):
            yield from self._joint() if self.protocol.joint else self._update()
        if self.protocol.evaluation is not None:
            yield from self._evaluation(self.protocol.evaluation.attempts)
        yield Leaving(
            kind=exchange.DECLINED,
            when="instead of any other message",
            what="the word `declined` and a reference that means something at this site only",
            most=self._sealed(exchange.DECLINED, exchange.refusal("0" * 8), log=answer(LONGEST_LEDGER)),
        )
        yield Leaving(
            kind=exchange.FINISHED,
            when="at the end of the study",
            what="that this site closed the study, and its signature under the study's log",
            most=self._sealed(exchange.FINISHED, b"", log=self._cosigned()),
        )

    @property
    def _attempts(self) -> int:
        return self.protocol.federation.rounds * self.protocol.federation.attempts

    def _update(self) -> Iterator[Leaving]:
        model = like(self.protocol, self.width)
        private = self.protocol.private
        noise, cost = ("after this site's own noise", _COST) if private else ("WITHOUT NOISE", _CHARGE)
        yield Leaving(
            kind=exchange.UPDATE,
            when="once per attempt of a round; a repeated question gets the same bytes",
            what=f"the change of the model, {noise}; {cost}",
            arrays=tuple(
                Array(name=name, shape=array.shape, kind="float32") for name, array in model.items()
            ),
            most=self._sealed(
                exchange.UPDATE,
                exchange.pack_update(self._receipt(), model),
                receipt=_ANY,
                log=self._cosigned() if private else "",
            ),
            times=self._attempts,
        )

    def _evaluation(self, attempts: int) -> Iterator[Leaving]:
        """The table of held-out patients; under joint noise keys and roster of its sum as in training."""
        cells, joint = self.protocol.table_cells, self.protocol.joint
        if joint and not self.protocol.trains(self.site):
            yield from self._keys(attempts)
        noise = (
            "with this site's share of the noise, masked so that only the sum over all members can be read"
            if joint
            else "after this site's own noise in every cell"
        )
        table = {TABLE: np.zeros(cells, np.float32)}
        body = self._masked(cells) if joint else exchange.pack_update(self._receipt(evaluates="yes"), table)
        kind = MASKED if joint else exchange.UPDATE
        yield Leaving(
            kind=kind,
            when="once per attempt of the evaluation; after the last round, where there are any",
            what=f"how many held-out patients are in each bin of score, outcome and group, {noise}; {_COST}",
            arrays=(Array(name=TABLE, shape=(cells,), kind="uint32" if joint else "float32"),),
            most=self._sealed(kind, body, receipt=_ANY, log=self._cosigned()),
            times=attempts,
        )

    def _keys(self, attempts: int) -> Iterator[Leaving]:
        suites = installed_suites()
        yield Leaving(
            kind=READY,
            when="at the start of each attempt of a round",
            what="fresh public keys of this attempt",
            most=self._sealed(READY, ready_body(suites, EphemeralKeys.draw(suites).public)),
            times=attempts,
        )
        yield Leaving(
            kind=AGREED,
            when="once the members of an attempt are known",
            what="the digest of the members' list as this site saw it, and what peers need for their keys",
            most=self._sealed(AGREED, self._agreed()),
            times=attempts,
        )

    def _joint(self) -> Iterator[Leaving]:
        evaluation = self.protocol.evaluation
        yield from self._keys(self._attempts + (evaluation.attempts if evaluation else 0))
        for round_, arrays in self._sums():
            yield Leaving(
                kind=MASKED,
                when=round_,
                what="this site's share of a sum, with its share of the noise, masked so that only the sum over all "
                f"members can be read; {_COST}",
                arrays=arrays,
                most=self._sealed(
                    MASKED, self._masked(arrays[0].shape[0]), receipt=_ANY, log=self._cosigned()
                ),
                times=self._attempts,
            )

    def _sums(self) -> Iterator[tuple[str, tuple[Array, ...]]]:
        rounds = self.protocol.federation.rounds
        if self.protocol.sums_statistics(1):
            length = size(self.protocol, self.width)
            yield "once per attempt of round 1", (Array(name="statistics", shape=(length,), kind="uint32"),)
        if rounds > 1 or not self.protocol.sums_statistics(1):
            length = sum(array.size for array in like(self.protocol, self.width).values())
            when = "once per attempt of a round" + (
                " after the first" if self.protocol.sums_statistics(1) else ""
            )
            yield when, (Array(name="gradients", shape=(length,), kind="uint32"),)

    def _agreed(self) -> bytes:
        names = sorted({*self.roster.sites, self.site})
        readies = cast("dict[str, Ready]", dict.fromkeys(names))
        context = SumContext(
            study=self.protocol.study.name,
            protocol_digest=self.protocol.digest,
            run=_RUN,
            round=1,
            attempt=1,
            base_model=_ANY,
            coordinator=self.roster.coordinator,
        )
        suite = installed_suites()[0]
        roster = SumRoster(context=context, readies=readies, suite=suite, digest=_ANY)
        made = recipients(roster, self.site) if suite == HYBRID else ()
        return agreed_body(roster, dict.fromkeys(made, bytes(MLKEM_CIPHERTEXT_SIZE)))

    def _masked(self, length: int) -> bytes:
        values = np.zeros(length, np.uint32)
        return Masked(receipt=self._receipt().to_bytes(), transcript=_ANY, values=values).pack()

    def _cosigned(self) -> str:
        checkpoint = Checkpoint(
            origin=origin(self.protocol.study.name, self.protocol.digest, _RUN),
            size=LONGEST_LEDGER,
            root=bytes(HASH_SIZE),
        )
        return answer(LONGEST_LEDGER, cosign(self.key, checkpoint, time=utc_now()))

    def _approval(self) -> bytes:
        terms = self.protocol.federation
        price = {"event": encode(self.protocol.event()), "releases": terms.rounds * terms.attempts}
        reserved = Entry(
            seq=LONGEST_LEDGER, prev=_ANY, kind="reserve", time=day(utc_now()), payload=price, line=b""
        )
        # One and the same price for each: both have the length of the longer kind of event, the same in a study.
        parts_ = len(parts(self.protocol, self.site))
        return approval_statement(
            self.key,
            site=self.site,
            protocol=self.protocol,
            roster=self.roster,
            consent=Consent(by="person", roster_version=LONGEST_LEDGER),
            reserved=(reserved,) * parts_,
        )

    def _receipt(self, *, evaluates: str = "no") -> exchange.Receipt:
        round_ = self.protocol.federation.rounds + (evaluates == "yes")
        event = self.protocol.event_of(round_)
        return exchange.Receipt(event=event, ledger_seq=LONGEST_LEDGER, ledger_head=_ANY)

    def _sealed(self, kind: str, body: bytes, **said: str) -> int:
        terms = self.protocol.federation
        fields = Header(
            kind=kind,
            study=self.protocol.study.name,
            protocol_digest=self.protocol.digest,
            run=_RUN,
            round=terms.rounds + (self.protocol.evaluation is not None),
            attempt=terms.attempts,
            sender=self.site,
            receiver=self.roster.coordinator,
            base_model=_ANY,
            **said,
        )
        return len(seal(self.key, fields, body))
