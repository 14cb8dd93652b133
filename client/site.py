"""The state machine of a hospital: it answers signed tasks, refuses by default, and knows nothing of Flower.

A task is answered only if the coordinator that this site pinned signed it, for this site, under a protocol that this
site approved by digest, in order, and with a base model of finite numbers in the declared shapes. Every refusal
leaves as one code and a reference; the reason stays in the site's own file.

Source of the rules: the site's part of "One round" in the architecture notes; the pattern is python-tuf's
`TrustedMetadataSet`.
"""

import secrets
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from wardround.client.consenting import SIMULATED, Consent, approval_statement
from wardround.client.refusals import REFUSALS, RefusalFile
from wardround.client.release import ReleaseDoor
from wardround.client.sumdesk import SumDesk
from wardround.client.witness import Witnessed, witness
from wardround.common.errors import TrustError, WardroundError
from wardround.common.learning import exchange
from wardround.common.learning.parameters import Parameters, check_like, from_bytes
from wardround.common.study.protocol import StudyProtocol
from wardround.common.trust.envelope import Envelope, Header, open_envelope, seal
from wardround.common.trust.identity import Roster, SigningKey
from wardround.common.trust.signed import utc_now
from wardround.common.trust.sumroster import OPEN, ROSTER
from wardround.common.trust.witness import answer

__all__ = ["REFUSALS", "Site", "Trainer"]


class Trainer(Protocol):
    """What a site needs of its cohort: the shapes of the model, and what one round may release."""

    def like(self) -> Parameters:
        """A model of the declared names and shapes."""
        ...

    def train(self, base: Parameters, round_: int) -> Parameters:
        """The update of one round: local model minus base, private if the protocol says so."""
        ...

    def share(self, base: Parameters, round_: int, *, sites: int) -> NDArray[np.uint32]:
        """This site's noisy summand of a secure sum over `sites` sites, modulo 2^32; private only inside it."""
        ...


class Site:
    """One hospital in one study.

    Args:
        folder: The site's own folder, for the refusal file.
        name: As in the roster.
        key: The site's identity.
        roster: Pinned public keys.
        protocol: The protocol this site approved.
        door: Where replies are charged and kept.
        trainer: The cohort behind the door; opened on the first task. None at an external site.
        examiner: The held-out patients, for a study with an evaluation.
        desk: Where secure sums are kept; needed for studies with joint noise.
        consent: Called before every piece of work but the end of the study; raises where the site withdrew.
        terms: How the site came to take part, as its approval says.
    """

    def __init__(
        self,
        folder: Path,
        *,
        name: str,
        key: SigningKey,
        roster: Roster,
        protocol: StudyProtocol,
        door: ReleaseDoor,
        trainer: Trainer | None,
        examiner: Trainer | None = None,
        desk: SumDesk | None = None,
        consent: Callable[[], None] = lambda: None,
        terms: Consent = SIMULATED,
    ) -> None:
        self.name = name
        self._refusals = RefusalFile(folder)
        self._key = key
        self._roster = roster
        self._protocol = protocol
        self._door = door
        self._trainer = trainer
        self._examiner = examiner
        self._desk = desk
        self._consent = consent
        self._terms = terms

    def answer(self, data: bytes) -> bytes:
        """Answer one message from the coordinator.

        Returns:
            A signed envelope: an update, a confirmation, or `declined` with a reference.

        Raises:
            TrustError: Not even a refusal is due, because the coordinator did not sign this for this site.
        """
        envelope = open_envelope(
            data,
            self._roster,
            study=self._protocol.study.name,
            protocol_digest=self._protocol.digest,
            sender=self._roster.coordinator,
        )
        if envelope.header.kind == exchange.ROLL_CALL:
            return self._reply(
                envelope, exchange.PRESENT, self._approval(), **self._standing(envelope.header)
            )
        if envelope.header.receiver != self.name:
            raise TrustError(f"a message for {envelope.header.receiver!r} reached {self.name!r}")
        try:
            return self._work(envelope)
        except Exception as error:  # a bug or a full disk is a refusal too, with its reason kept here
            body = exchange.refusal(self._note(envelope, error))
            return self._reply(envelope, exchange.DECLINED, body, **self._standing(envelope.header))

    def _standing(self, asked: Header) -> dict[str, str]:
        """How much of the log of this run this site has cosigned."""
        return {"log": answer(self._door.cosigned(self._protocol, asked.run).size)}

    def _approval(self) -> bytes:
        """This site's signed approval; nothing where the study is not open here."""
        reserved = self._door.reservations(self._protocol)
        if not reserved:
            return b""
        return approval_statement(
            self._key,
            site=self.name,
            protocol=self._protocol,
            roster=self._roster,
            consent=self._terms,
            reserved=tuple(reserved.values()),
        )

    def _work(self, envelope: Envelope) -> bytes:
        kind, run = envelope.header.kind, envelope.header.run
        self._door.check_run(self._protocol, run)
        if kind == exchange.FINISH:
            witnessed = self._witness(envelope.header)
            if self._desk is not None:
                self._desk.forget()
            self._door.close(self._protocol, run=run, log=witnessed.seen)
            return self._reply(envelope, exchange.FINISHED, b"", **witnessed.said)
        self._consent()
        self._check_moment(envelope.header)
        if kind == exchange.TASK and not self._protocol.joint:
            return self._train(envelope)
        if kind in (OPEN, ROSTER, exchange.TASK) and self._protocol.joint and self._desk is not None:
            return self._sum(envelope, self._desk)
        raise TrustError(f"expected a message that this study's mechanism asks for, found {kind!r}")

    def _check_moment(self, header: Header) -> None:
        """Refuse an attempt that the protocol does not have: the reservation is for those it has, each once."""
        terms, most = self._protocol.federation, self._protocol.attempts_of(header.round)
        if not 1 <= header.attempt <= most:
            last = terms.rounds + (self._protocol.evaluation is not None)
            raise TrustError(
                f"expected a round of 1 to {last} and an attempt of 1 to {most or terms.attempts}, found another",
                advice="the coordinator asks for more than this site approved; nothing was charged",
            )
        released = self._protocol.monitoring
        if released is not None and header.base_model != released.model:
            raise TrustError(
                "expected the released model that the protocol names, found another; nothing was charged"
            )

    def _patients(self, round_: int) -> Trainer:
        """Whom a round is about: those who train, or those who are held out."""
        evaluates = self._protocol.evaluates(round_)
        found = self._examiner if evaluates else self._trainer
        if found is None or not (evaluates or self._protocol.trains(self.name)):
            raise TrustError("this site has no patients in that part of the study; nothing was charged")
        return found

    def _witness(self, asked: Header) -> Witnessed:
        """Cosign the log that the coordinator shows; raise where it does not continue what this site cosigned.

        Without privacy a task settles nothing that could remember it, and the end alone is cosigned.
        """
        if asked.kind == exchange.TASK and not self._protocol.private:
            return Witnessed()
        return witness(
            asked.log,
            key=self._key,
            protocol=self._protocol,
            run=asked.run,
            coordinator=self._roster.coordinator_key,
            door=self._door,
            time=utc_now(),
        )

    def _sum(self, envelope: Envelope, desk: SumDesk) -> bytes:
        """One step of a secure sum. Keys are made only for an attempt that could still be charged."""
        round_, attempt = envelope.header.round, envelope.header.attempt
        match envelope.header.kind:
            case "open":
                self._patients(round_)
                self._door.check_next(self._protocol, round_, attempt)
                return desk.open(envelope.header)
            case "roster":
                return desk.agree(envelope)
        if (sent := self._door.sent(self._protocol, round_, attempt)) is not None:
            return sent
        witnessed = self._witness(envelope.header)
        session, model = desk.confirm(envelope)
        patients = self._patients(round_)
        base = check_like(from_bytes(model), patients.like())
        receipt = self._charge(envelope.header)
        share = patients.share(base, round_, sites=len(session.members))
        desk.forget()
        said = {"receipt": receipt.digest, **witnessed.said}
        reply = session.upload(share, receipt=receipt.to_bytes(), said=said)
        return self._door.let_go(self._protocol, round_, attempt, reply, log=witnessed.seen)

    def _train(self, envelope: Envelope) -> bytes:
        round_, attempt = envelope.header.round, envelope.header.attempt
        if (sent := self._door.sent(self._protocol, round_, attempt)) is not None:
            return sent
        base_model = envelope.body_digest
        if base_model != envelope.header.base_model:
            raise TrustError("the base model is not the one that the envelope names")
        witnessed = self._witness(envelope.header)
        patients = self._patients(round_)
        base = check_like(from_bytes(envelope.body), patients.like())
        receipt = self._charge(envelope.header)
        update = patients.train(base, round_)
        body = exchange.pack_update(receipt, update)
        reply = self._reply(envelope, exchange.UPDATE, body, receipt=receipt.digest, **witnessed.said)
        return self._door.let_go(self._protocol, round_, attempt, reply, log=witnessed.seen)

    def _charge(self, header: Header) -> exchange.Receipt:
        return self._door.charge(
            self._protocol, header.round, header.attempt, header.base_model, run=header.run
        )

    def _reply(self, asked: Envelope, kind: str, body: bytes, **said: str) -> bytes:
        fields = Header(
            kind=kind,
            study=self._protocol.study.name,
            protocol_digest=self._protocol.digest,
            run=asked.header.run,
            round=asked.header.round,
            attempt=asked.header.attempt,
            sender=self.name,
            receiver=self._roster.coordinator,
            base_model=asked.header.base_model,
            **said,
        )
        return seal(self._key, fields, body)

    def _note(self, envelope: Envelope, error: Exception) -> str:
        """Write the reason down at the site; return the reference, which tells an outsider nothing."""
        reference = secrets.token_hex(4)
        self._refusals.note(
            "task",
            error.diagnostics() if isinstance(error, WardroundError) else traceback.format_exception(error),
            reference=reference,
            kind=envelope.header.kind,
            round=envelope.header.round,
            attempt=envelope.header.attempt,
        )
        return reference
