"""Withdrawing a study: the act of a person at the site, which no message ever calls.

Order: every approval is marked, so that the next message is declined; then the reservations are closed. A round that
is being computed in that moment may still leave. What was spent stays spent.
"""

from pathlib import Path
from typing import Final

from wardround.client.approvals import folder_of, forget_patients, protocols, read_approval
from wardround.client.office import PATIENCE, Office
from wardround.common.durable import LockedError
from wardround.common.errors import UsageError, WardroundError
from wardround.common.study.protocol import StudyProtocol

SHORTEST_PREFIX: Final = 8
"""Digits of a protocol digest that name a study."""


def revoke(site: Path, name: str, *, patience: float = PATIENCE) -> tuple[StudyProtocol, ...]:
    """Withdraw every approval of a study: its next message is declined, and what it did not spend is free again.

    Safe to repeat; it also frees what an approval that was cut off had reserved.

    Args:
        site: The site's folder.
        name: Of the study, for all its protocols; or the first digits of one protocol digest.
        patience: Seconds to wait for a round that is being computed.

    Returns:
        The protocols that may not run any more.

    Raises:
        UsageError: No study of that name was approved here.
        LockedError: A round is being computed; the approval is marked already, so no further one begins.
    """
    found = {
        key: protocol
        for key, protocol in protocols(site).items()
        if _is_named(name, key, protocol.study.name)
    }
    if not found:
        raise UsageError(f"no study {name!r} was approved here", advice="`wardround site studies` lists them")
    office = Office.load(site)
    for key in found:
        _mark(office, key)
    try:
        with office.ledger(patience=patience) as ledger:
            for protocol in found.values():
                office.door(ledger).close(protocol)
                if protocol.joint:
                    office.desk(protocol).forget()
    except LockedError:
        raise LockedError(
            f"study {name!r} is marked as revoked, and no further round of it begins; a round that is being computed "
            "holds the ledger, so that its reservation is still open",
            advice="repeat the command when the round is over",
        ) from None
    return tuple(found.values())


def _is_named(name: str, key: str, study: str) -> bool:
    return name == study or (len(name) >= SHORTEST_PREFIX and key.startswith(name))


def _mark(office: Office, key: str) -> None:
    try:
        approval = read_approval(office.folder, key, office.key.public)
    except WardroundError:  # it was changed and counts for nothing; its reservation is closed all the same
        approval = None
    if approval is not None and approval.state == "approved":
        approval.revoked().write(office.key)
    forget_patients(folder_of(office.folder, key))
