"""What a reply must be before it counts: pure, bytes in, verdict out.

A reply is admitted only if it is signed by the site it was asked from, answers exactly this task, charges exactly
the protocol's price, and holds finite numbers in the model's shapes. Everything else is refused with a reason for
the log; nothing a site sends can crash or steer a round beyond its own weighted update.
"""

from dataclasses import dataclass

from wardround.common.errors import TrustError
from wardround.common.learning.evaluated import check_table
from wardround.common.learning.exchange import DECLINED, UPDATE, Receipt, refusal_reference, unpack_update
from wardround.common.learning.parameters import Parameters, check_update
from wardround.common.learning.study import RoundTask
from wardround.common.study.parts import disagreement
from wardround.common.study.protocol import StudyProtocol
from wardround.common.trust.approved import ApprovedTerms, read_approved
from wardround.common.trust.envelope import Envelope, Header, head_of, open_envelope, open_head
from wardround.common.trust.identity import Roster


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """An update that counts.

    Attributes:
        update: The site's update.
        receipt: What it says that it cost.
        sha256: Of the body.
        head: The envelope's head: the site's own word on round, body and receipt.
        log: What it says of the study's log.
        reply: SHA-256 of the whole envelope, as the site's ledger settled it; empty where nothing settles it.
    """

    update: Parameters
    receipt: Receipt
    sha256: str
    head: bytes
    log: str = ""
    reply: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A site without an update in this attempt, and why, in words that may be logged."""

    reason: str


def admit(
    reply: bytes, *, sender: str, task: RoundTask, run: str, protocol: StudyProtocol, roster: Roster
) -> Admitted | Refused:
    """Judge one reply.

    Args:
        reply: The envelope as it arrived.
        sender: The site that was asked.
        task: What it was asked.
        run: In which run.
        protocol: The public terms; the receipt must charge exactly `protocol.event_of(round)`.
        roster: Public keys.
    """
    try:
        envelope = open_envelope(
            reply,
            roster,
            study=protocol.study.name,
            protocol_digest=protocol.digest,
            run=run,
            round=task.round,
            attempt=task.attempt,
            sender=sender,
            receiver=roster.coordinator,
            base_model=task.base_model,
        )
        if envelope.header.kind == DECLINED:
            return Refused(reason=_declined(envelope))
        if envelope.header.kind != UPDATE:
            raise TrustError(f"expected an update, found {envelope.header.kind!r}")
        receipt, update = unpack_update(envelope.body)
        check_receipt(receipt, envelope.header, protocol)
        return Admitted(
            update=_checked(protocol, task, update),
            receipt=receipt,
            sha256=envelope.body_digest,
            head=head_of(reply),
            log=envelope.header.log,
        )
    except TrustError as error:
        return Refused(reason=str(error))


def _checked(protocol: StudyProtocol, task: RoundTask, reply: Parameters) -> Parameters:
    if protocol.evaluates(task.round):
        return check_table(protocol, reply)
    return check_update(reply, task.base)


def check_receipt(receipt: Receipt, said: Header, protocol: StudyProtocol) -> None:
    """Refuse a receipt that charges something else, or that the head of its envelope does not name.

    Raises:
        TrustError: Either.
    """
    if receipt.event != protocol.event_of(said.round):
        raise TrustError("the receipt charges another event than the protocol declares")
    if said.receipt != receipt.digest:
        raise TrustError("expected the head of the reply to name its receipt, found another or none")


def said_of_log(reply: bytes, site: str, roster: Roster) -> str:
    """What a reply says of the study's log, whether it counts or not; empty where this site did not sign it."""
    try:
        return open_head(head_of(reply), roster, sender=site).header.log
    except TrustError:
        return ""


def check_approval(statement: bytes, site: str, roster: Roster, protocol: StudyProtocol) -> ApprovedTerms:
    """Refuse what is not this site's own signed approval of this very study, on exactly its terms.

    Which members it approved is compared in `approvals`; which code it runs is for an auditor to judge.

    Raises:
        TrustError: It is not.
        StorageError: From a newer release.
    """
    found = read_approved(statement, site=site, signer=roster.key(site))
    if other := disagreement(protocol, found):
        raise TrustError(f"expected {site!r} to approve this study, found another {other} in its approval")
    return found


def refused_by_site(
    reply: bytes, sender: str, task: RoundTask, run: str, protocol: StudyProtocol, roster: Roster
) -> str:
    """Why a site declined this task; empty where the reply is no such thing."""
    try:
        envelope = open_envelope(
            reply,
            roster,
            kind=DECLINED,
            receiver=roster.coordinator,
            study=protocol.study.name,
            protocol_digest=protocol.digest,
            run=run,
            round=task.round,
            sender=sender,
            attempt=task.attempt,
        )
        return _declined(envelope)
    except TrustError:
        return ""


def _declined(envelope: Envelope) -> str:
    return f"declined, reference {refusal_reference(envelope.body)}"
