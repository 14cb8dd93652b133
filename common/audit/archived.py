"""What sites sent, read back from an archive and held against the log: replies, and sums of masked uploads."""

from collections.abc import Mapping
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from wardround.common.audit.case import Case
from wardround.common.audit.evidence import ARCHIVE
from wardround.common.audit.lines import Attempt
from wardround.common.errors import TrustError
from wardround.common.formats import digest
from wardround.common.learning.exchange import UPDATE, unpack_update
from wardround.common.learning.parameters import Parameters
from wardround.common.trust.envelope import open_envelope
from wardround.common.trust.sumroster import SumContext
from wardround.common.trust.sumround import recompute_sum
from wardround.common.trust.sumwire import unpack_messages


def is_archived(case: Case, one: Attempt) -> bool:
    """Whether anything of an attempt is there; a part of it must then be whole."""
    return bool(case.evidence.below(_place(one)))


def archived_reply(case: Case, one: Attempt, site: str) -> Parameters:
    """What a site sent in an attempt without a secure sum; names and shapes are for the caller to check.

    Raises:
        TrustError: It is missing, or not what the log says.
    """
    word = one.sites[site]
    reply = _message(case, one, f"{word.reply}.envelope", sha256=word.reply)
    envelope = open_envelope(reply, case.roster_at(one.line), kind=UPDATE, **_bound(case, one, site))
    if envelope.body_digest != word.body:
        raise TrustError(f"the archived reply of {site!r} has another body than the log names")
    receipt, update = unpack_update(envelope.body)
    if receipt.event != word.event:
        raise TrustError(f"the archived reply of {site!r} charges another event than the log shows")
    return update


def archived_sum(case: Case, one: Attempt, length: int) -> NDArray[np.uint32]:
    """The sum of the masked uploads of an attempt, modulo 2^32.

    Raises:
        TrustError: A message is missing or not what the log says, or they add up to another sum.
    """
    roster = case.roster_at(one.line)
    context = SumContext(
        study=case.protocol.study.name,
        protocol_digest=case.protocol.digest,
        run=case.run,
        round=one.round,
        attempt=one.attempt,
        base_model=one.base_model,
        coordinator=roster.coordinator,
    )
    total = recompute_sum(
        context,
        keys=roster,
        length=length,
        readies=_messages(case, one, "roster"),
        agreements=_messages(case, one, "agreements"),
        uploads=(
            (site, _message(case, one, f"{one.sites[site].reply}.envelope", sha256=one.sites[site].reply))
            for site in one.members
        ),
    )
    if digest(total.tobytes()) != one.sum:
        raise TrustError("the archived uploads add up to another sum than the log names")
    return total


def _bound(case: Case, one: Attempt, site: str) -> Mapping[str, str | int]:
    return {
        "study": case.protocol.study.name,
        "protocol_digest": case.protocol.digest,
        "run": case.run,
        "round": one.round,
        "attempt": one.attempt,
        "sender": site,
        "receiver": case.roster.coordinator,
        "base_model": one.base_model,
    }


def _place(one: Attempt) -> str:
    return f"{ARCHIVE}/{one.round}-{one.attempt}"


def _message(case: Case, one: Attempt, name: str, *, sha256: str = "") -> bytes:
    path = str(PurePosixPath(_place(one)) / name)
    data = case.evidence.read(path)
    if data is None:
        raise TrustError(f"expected {path} in the archive, found none")
    if sha256 and digest(data) != sha256:
        raise TrustError(f"{path} has another content than its name says")
    return data


def _messages(case: Case, one: Attempt, name: str) -> list[bytes]:
    messages, rest = unpack_messages(_message(case, one, f"{name}.messages"))
    if rest:
        raise TrustError(f"{name}.messages holds more than messages")
    return messages
