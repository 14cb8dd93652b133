"""What else leaves a hospital, and what it refuses: every reply of a conformance run is looked at once more."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Final

import numpy as np

from wardround.common.errors import WardroundError
from wardround.common.formats import digest
from wardround.common.learning.exchange import TASK, UPDATE, Receipt, pack_update, unpack_update
from wardround.common.learning.models import like
from wardround.common.learning.parameters import Parameters, parameters_digest, to_bytes
from wardround.common.trust.sumroster import MASKED
from wardround.common.trust.sumwire import Masked
from wardround.simulations.conformancepatients import WIDTH, WITH, WITHOUT
from wardround.simulations.conformancestats import Check, certain
from wardround.simulations.conformancestudies import CALMED, Examination, Seen, first_model

_STUDY: Final = "conduct"


def conduct(exam: Examination) -> Iterator[Check]:
    """Checks of all replies so far; to be run last."""
    yield _nothing_else(exam)
    yield _lengths(exam)
    yield _receipts(exam)
    for site in (WITHOUT, WITH):
        yield _charges(exam, site)
    yield _replay(exam)
    yield _beyond(exam)
    yield _not_finite(exam)


def _check(name: str, claim: str, wrong: int, total: int) -> Check:
    found = f"{wrong} of {total} otherwise"
    return Check(
        study=_STUDY, name=name, claim=claim, expected="none", found=found, p=certain(not wrong and total > 0)
    )


def _nothing_else(exam: Examination) -> Check:
    claim = "a reply is one envelope with receipt and values, byte for byte, bound to what was asked"
    wrong = sum(not _is_pure(seen) for seen in exam.seen)
    return _check("nothing else leaves", claim, wrong, len(exam.seen))


def _is_pure(seen: Seen) -> bool:
    envelope, header = seen.reply.envelope, seen.reply.envelope.header
    moment = (header.round, header.attempt, header.protocol_digest)
    joint = seen.asked.mechanism == "joint-noise"
    masked = joint and Masked.unpack(envelope.body, _values(seen)).pack()
    again = masked or pack_update(*unpack_update(envelope.body))
    bound = (
        moment == (seen.round, 1, seen.asked.protocol().digest) and header.receipt == _receipt(seen).digest
    )
    kind = MASKED if joint else UPDATE
    return seen.reply.alone and bound and header.kind == kind and again == envelope.body


def _values(seen: Seen) -> int:
    return sum(array.size for array in like(seen.asked.protocol(), WIDTH).values())


def _receipt(seen: Seen) -> Receipt:
    body = seen.reply.envelope.body
    if seen.asked.mechanism == "joint-noise":
        return Receipt.from_bytes(Masked.unpack(body, _values(seen)).receipt)
    return unpack_update(body)[0]


def _lengths(exam: Examination) -> Check:
    """The receipt's length is that of the number of ledger entries, which whoever asks can count."""
    lengths = defaultdict(set)
    for seen in exam.seen:
        lengths[seen.asked.name].add(len(seen.reply.envelope.body) - len(_receipt(seen).to_bytes()))
    wrong = sum(len(found) > 1 for found in lengths.values())
    return _check(
        "length of replies", "replies of a study have one length, whoever is in it", wrong, len(lengths)
    )


def _receipts(exam: Examination) -> Check:
    """The numbers in a receipt are the ledger's own: nothing else hides in them."""
    books = {site: exam.grounds.book(site) for site in (WITHOUT, WITH)}
    heads = {(site, entry.seq, entry.hash) for site, book in books.items() for entry in book}
    wrong = 0
    for seen in exam.seen:
        receipt = _receipt(seen)
        named = (seen.site, receipt.ledger_seq, receipt.ledger_head) in heads
        wrong += not named or receipt.event != seen.asked.protocol().event()
    claim = "each receipt states the charge that the protocol implies, and the ledger's own number and head"
    return _check("receipts", claim, wrong, len(exam.seen))


def _charges(exam: Examination, site: str) -> Check:
    """One spend and one settlement per reply, and the settlement names the reply that left."""
    book = exam.grounds.book(site)
    replies = {digest(seen.reply.data) for seen in exam.seen if seen.site == site}
    spent = sum(entry.kind == "spend" for entry in book)
    settled = {entry.payload["update"] for entry in book if entry.kind == "settle"}
    wrong = abs(spent - len(replies)) + len(replies ^ settled)
    claim = "every reply was charged once, durably, and is the one that the ledger names"
    return _check(f"charges of {site}", claim, wrong, len(replies))


def _replay(exam: Examination) -> Check:
    """The last attempt of a study, asked again."""
    protocol, before = exam.admit(CALMED), len(exam.grounds.book(WITHOUT))
    (again,) = exam.grounds.updates(WITHOUT, protocol, first_model(protocol), [CALMED.rounds])
    asked = (CALMED, WITHOUT, CALMED.rounds)
    sent = [seen.reply.data for seen in exam.seen if (seen.asked, seen.site, seen.round) == asked]
    wrong = ([again.data] != sent) + (len(exam.grounds.book(WITHOUT)) != before)
    return _check("replays", "the same attempt gets the same bytes and costs nothing more", wrong, 2)


def _beyond(exam: Examination) -> Check:
    protocol = exam.admit(CALMED)
    answered = int(_answers(exam, first_model(protocol), CALMED.rounds + 1))
    return _check("reservation", "an attempt beyond those that were approved is declined", answered, 1)


def _not_finite(exam: Examination) -> Check:
    """Base models that no honest coordinator sends."""
    base = first_model(exam.admit(CALMED))
    answered = 0
    values = (np.nan, np.inf, 1e30)
    for value in values:
        crafted = {name: np.full_like(array, value) for name, array in base.items()}
        answered += _answers(exam, crafted, CALMED.rounds - 1)
    return _check(
        "crafted weights", "weights that are not finite, or absurd, are declined", answered, len(values)
    )


def _answers(exam: Examination, base: Parameters, round_: int) -> bool:
    """Whether the hospital works on what it must decline; nothing may be charged for it."""
    protocol, before = exam.admit(CALMED), len(exam.grounds.book(WITH))
    try:
        exam.grounds.ask(WITH, protocol, TASK, to_bytes(base), base=parameters_digest(base), rounds=[round_])
    except WardroundError:
        return len(exam.grounds.book(WITH)) != before
    return True
