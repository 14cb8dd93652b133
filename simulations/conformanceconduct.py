"""What else leaves a hospital, and what it refuses: every message of a conformance run is looked at once more."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

import numpy as np

from wardround.common.errors import WardroundError
from wardround.common.formats import canonical
from wardround.common.learning.exchange import (
    DECLINED,
    TASK,
    Receipt,
    pack_update,
    refusal,
    refusal_reference,
    unpack_update,
)
from wardround.common.learning.parameters import Parameters, parameters_digest, to_bytes
from wardround.common.privacy.randomness import SecureRandom
from wardround.common.trust.envelope import Header, seal
from wardround.common.trust.signed import parse
from wardround.common.trust.sumroster import AGREED, READY
from wardround.common.trust.sumwire import Masked
from wardround.common.trust.witness import answer
from wardround.simulations.conformancechild import in_a_child
from wardround.simulations.conformanceexam import Examination, Seen
from wardround.simulations.conformanceledger import ledger, written
from wardround.simulations.conformancepatients import FEW, WITH, WITHOUT, Asked
from wardround.simulations.conformancesite import ANOTHER_RUN, COORDINATOR, RUN, Moment, Reply, rounds
from wardround.simulations.conformancestats import Check, certain
from wardround.simulations.conformancestudies import CALMED, OFFERED

_STUDY: Final = "conduct"
_SHARES: Final = ("x25519", "ml_kem_768")
_KEYS: Final = 1 << 15  # of noise, in each of two children
_KEY: Final = 16  # bytes of a stream that stand for its key


def conduct(exam: Examination) -> Iterator[Check]:
    """Checks of all replies so far; to be run last."""
    yield _declined(exam)
    yield _replay(exam)
    yield _nothing_else(exam)
    yield _lengths(exam)
    if any(seen.kind == READY for seen in exam.seen):
        yield _keys(exam)
    yield _generator()
    yield from ledger(exam)
    yield _refusals(exam)


def _check(name: str, claim: str, wrong: int, total: int) -> Check:
    found = f"{wrong} of {total} otherwise"
    return Check(
        study=_STUDY, name=name, claim=claim, expected="none", found=found, p=certain(not wrong and total > 0)
    )


def _nothing_else(exam: Examination) -> Check:
    claim = "a reply is one envelope, byte for byte what was asked, receipt and values: no field is free, no signature"
    wrong = sum(not _is_pure(exam, seen) for seen in exam.seen)
    return _check("nothing else leaves", claim, wrong, len(exam.seen))


def _is_pure(exam: Examination, seen: Seen) -> bool:
    """Signatures are deterministic, and the auditor has the hospital's key: the whole reply is made a second time."""
    body = seen.reply.envelope.body
    try:
        again = _written_again(seen)
    except WardroundError:
        return False
    expected = Header(
        kind=seen.kind,
        study=seen.asked.name,
        protocol_digest=seen.asked.protocol().digest,
        run=RUN,
        round=seen.moment.round,
        attempt=seen.moment.attempt,
        sender=seen.site,
        receiver=COORDINATOR,
        base_model=seen.base,
        receipt=seen.receipt().digest if seen.releases else "",
    )
    same = seal(exam.grounds.peer_key(seen.site), expected, again) == seen.reply.data
    return seen.reply.alone and same and again == body


def _written_again(seen: Seen) -> bytes:
    """The body from what was read in it."""
    body = seen.reply.envelope.body
    match seen.kind:
        case "update":
            return pack_update(*unpack_update(body))
        case "masked":
            masked = Masked.unpack(body, seen.values)
            return replace(masked, receipt=Receipt.from_bytes(masked.receipt).to_bytes()).pack()
    return canonical(parse(body, where="a message of a secure sum"))


def _lengths(exam: Examination) -> Check:
    """The receipt's length is that of the number of ledger entries, which whoever asks can count."""
    lengths = defaultdict(set)
    for seen in exam.seen:
        said = len(seen.receipt().to_bytes()) if seen.releases else 0
        # A site encapsulates for the members behind it in the alphabet, so `agreed` has a length for each site.
        place = seen.site if seen.kind == AGREED else ""
        lengths[seen.asked.name, seen.kind, place].add(len(seen.reply.envelope.body) - said)
    wrong = sum(len(found) > 1 for found in lengths.values())
    return _check(
        "length of replies", "replies of a study have one length, whoever is in it", wrong, len(lengths)
    )


def _keys(exam: Examination) -> Check:
    """A key of a mask that is used twice shows the difference of two shares."""
    bodies = [parse(seen.reply.envelope.body, where="ready") for seen in exam.seen if seen.kind == READY]
    shares = {str(body[kind]) for body in bodies for kind in _SHARES}
    claim = "every attempt at a secure sum has keys of its own"
    return _check("keys of masks", claim, len(_SHARES) * len(bodies) - len(shares), len(shares))


def _generator() -> Check:
    """By birthdays: streams from fewer than 2^30 keys meet, also those of two processes."""
    children = [in_a_child(_streams) for _ in range(2)]
    drawn = {data[at : at + _KEY] for data in children for at in range(0, len(data), _KEY)}
    total = 2 * _KEYS
    claim = "every source of noise has a key of its own, not one of a small number or of a process"
    return _check("keys of noise", claim, total - len(drawn), total)


def _streams() -> bytes:
    found = []
    for _ in range(_KEYS):
        with SecureRandom() as random:
            found.append(random.bytes(_KEY))
    return b"".join(found)


def _replay(exam: Examination) -> Check:
    """The last attempt of a study, asked again: as it was, from another model; and one that is over."""
    protocol, before = exam.admit(CALMED, WITHOUT), written(exam, WITHOUT)
    last, base = Moment(round=CALMED.rounds), exam.first(CALMED)
    asked = (CALMED, WITHOUT, last)
    sent = [seen.reply.data for seen in exam.seen if (seen.asked, seen.site, seen.moment) == asked]
    other = {name: array + np.float32(0.5) for name, array in base.items()}
    again = [_data(exam.grounds.updates(WITHOUT, protocol, base, [last]))]
    for model, moment in ((other, last), (base, Moment(round=1))):
        if _answers(exam, WITHOUT, CALMED, model, moment):
            again.append(_data(exam.grounds.updates(WITHOUT, protocol, model, [moment])))
    wrong = sum([data] != sent for data in again) + (written(exam, WITHOUT) != before)
    return _check("replays", "the same attempt gets the same bytes or none, and costs nothing more", wrong, 4)


def _data(replies: Sequence[Reply]) -> bytes:
    return b"".join(reply.data for reply in replies)


def _declined(exam: Examination) -> Check:
    """What no honest coordinator sends, at an attempt that is open: before and after it an honest one is answered."""
    sites = (WITHOUT, WITH, FEW)
    base, following = exam.first(OFFERED), Moment(round=2)
    for site in sites:
        exam.sums(OFFERED, site, rounds(1))
    filled = [
        {name: np.full_like(array, value) for name, array in base.items()} for value in (np.nan, np.inf, 1e30)
    ]
    cut = {name: array[..., :-1] for name, array in base.items()}
    wrong = 0
    for site in sites:
        tried = partial(_answers, exam, site)
        wrong += sum(tried(OFFERED, model, following) for model in (*filled, cut))
        wrong += tried(OFFERED, base, Moment(round=OFFERED.rounds + 1))
        wrong += tried(OFFERED, base, replace(following, attempt=OFFERED.attempts + 1))
        wrong += tried(OFFERED, base, following, run=ANOTHER_RUN)
        wrong += tried(OFFERED, base, following, named="0" * 64)
        exam.sums(OFFERED, site, [following])
    claim = (
        "absurd weights, attempts beyond the reservation, another run or model are declined by every hospital"
    )
    return _check("what is declined", claim, wrong, 8 * len(sites))


def _refusals(exam: Examination) -> Check:
    """A refusal says the same whatever its reason was; its reference is random: equal reasons have different ones."""
    wrong = sum(not _says_nothing(exam, site, reply) for site, reply in exam.grounds.refusals)
    wrong += len(exam.grounds.refusals) - len({reply.envelope.body for _, reply in exam.grounds.refusals})
    claim = (
        "a refusal is one code and a reference, byte for byte, whatever the reason and whoever the patients"
    )
    return _check("refusals", claim, wrong, len(exam.grounds.refusals))


def _says_nothing(exam: Examination, site: str, reply: Reply) -> bool:
    asked = reply.envelope.header
    expected = replace(asked, kind=DECLINED, sender=site, receiver=COORDINATOR, receipt="", log=answer(0))
    try:
        body = refusal(refusal_reference(reply.envelope.body))
    except WardroundError:
        return False
    return reply.alone and seal(exam.grounds.peer_key(site), expected, body) == reply.data


def _answers(
    exam: Examination,
    site: str,
    asked: Asked,
    base: Parameters,
    moment: Moment,
    *,
    named: str = "",
    run: str = RUN,
) -> bool:
    """Whether a hospital works on what it must decline, or charges for it."""
    protocol, before = exam.admit(asked, site), written(exam, site)
    model = named or parameters_digest(base)
    try:
        exam.grounds.ask(site, protocol, TASK, to_bytes(base), base=model, moments=[moment], run=run)
    except WardroundError:
        return written(exam, site) != before
    return True
