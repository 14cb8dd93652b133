"""A site's approval in words that leave: which study it approved, at which price, with which code. Signed by the site.

It is made from the reservation in the site's own ledger, so the same approval always gives the same bytes, wherever the
site runs. It travels with the answer to a roll call and stands in the study's log as it came. Nothing in it depends on
patients, and nothing of the site's policy is in it: a cap, a count or a path never leaves.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Final, Literal

from wardround.common.code import package_digest
from wardround.common.study.protocol import StudyProtocol
from wardround.common.trust.identity import Roster, SigningKey
from wardround.common.trust.ledgerline import Entry
from wardround.common.trust.ledgernames import HELD_OUT, pool_of
from wardround.common.trust.statement import APPROVAL, sign_statement

By = Literal["person", "simulation"]
"""Who approved: a person at the site, or a researcher who speaks for it in a simulation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent:
    """How a site came to take part.

    Attributes:
        by: Who approved.
        roster_version: Version of the coordinator's list that was approved; 0 where lists have none.
    """

    by: By
    roster_version: int = 0


SIMULATED: Final = Consent(by="simulation")


def approval_statement(
    key: SigningKey,
    *,
    site: str,
    protocol: StudyProtocol,
    roster: Roster,
    consent: Consent,
    reserved: Sequence[Entry],
) -> bytes:
    """The signed approval.

    Args:
        key: The site's.
        site: Its name.
        protocol: What it approved.
        roster: The members as it pinned them.
        consent: How it approved.
        reserved: The ledger's entries that set the whole price of the study aside: of training and, where there is
            one, of the evaluation; at an external site of that alone.
    """
    first, *rest = reserved
    fields: dict[str, object] = {
        "site": site,
        "study": protocol.study.name,
        "protocol": protocol.digest,
        "roster": roster.digest,
        "roster_version": consent.roster_version,
        "by": consent.by,
        "time": first.time,
        **_price(first, protocol),
        "code": package_digest(),
        "package": _release(),
    }
    if rest:
        fields["evaluation"] = _price(rest[0], protocol)
    return sign_statement(key, APPROVAL, fields)


def _price(reserved: Entry, protocol: StudyProtocol) -> dict[str, object]:
    held_out = protocol.evaluation if pool_of(reserved.payload) == HELD_OUT else None
    delta = held_out.delta if held_out else protocol.privacy.delta
    return {
        "event": reserved.payload["event"],
        "releases": reserved.payload["releases"],
        "delta": repr(delta),
        "ledger": {"seq": reserved.seq, "hash": reserved.hash},
    }


@cache
def _release() -> str:
    return version("wardround")
