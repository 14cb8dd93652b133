"""Where each study stands at a site: what a person decided, and what the ledger says of it."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from wardround.client.approvals import Approval, protocols, read_approval
from wardround.client.office import Office
from wardround.common.study.parts import main_account, parts
from wardround.common.study.protocol import StudyProtocol
from wardround.common.trust.ledger import LEDGER, Ledger, read_ledger
from wardround.common.trust.ledgerline import Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One study, under one protocol.

    Attributes:
        name: The study.
        digest: Of its protocol.
        state: `approved`; `revoked`; `finished`, approved and run to its end; `unfinished`: an approval that was cut
            off, which counts for nothing but may hold a reservation until it is repeated or revoked.
        charged: Releases that were charged and stay so, over all runs under this protocol.
        reserved: Releases that this protocol reserves.
        roster_version, revision, time: Of the approval; 0 and empty where it is unfinished.
    """

    name: str
    digest: str
    state: Literal["approved", "revoked", "finished", "unfinished"]
    charged: int
    reserved: int
    roster_version: int
    revision: int
    time: str

    def as_dict(self) -> dict[str, object]:
        """The JSON form."""
        return asdict(self)


def studies(site: Path) -> tuple[Standing, ...]:
    """Every study whose approval was begun here, sorted by name.

    Raises:
        LockedError: A round is being computed.
        TrustError: An approval or the ledger was changed.
    """
    office = Office.load(site)
    known = protocols(site)
    with office.ledger() as ledger:
        entries = read_ledger(office.policy.ledger / LEDGER, office.key.public)
        found = [
            _standing(
                protocol,
                read_approval(site, digest, office.key.public),
                ledger,
                entries,
                site=office.policy.site,
            )
            for digest, protocol in known.items()
        ]
    return tuple(sorted(found, key=lambda each: (each.name, each.time)))


def _standing(
    protocol: StudyProtocol,
    approval: Approval | None,
    ledger: Ledger,
    entries: tuple[Entry, ...],
    *,
    site: str,
) -> Standing:
    kinds = [entry.kind for entry in entries if entry.payload.get("protocol") == protocol.digest]
    return Standing(
        name=protocol.study.name,
        digest=protocol.digest,
        state=_state(protocol, approval, main_account(protocol, site, ledger)),
        charged=kinds.count("spend") - kinds.count("return"),
        reserved=sum(part.releases for part in parts(protocol, site)),
        roster_version=approval.roster_version if approval else 0,
        revision=approval.revision if approval else 0,
        time=approval.time if approval else "",
    )


def _state(
    protocol: StudyProtocol, approval: Approval | None, ledger: Ledger
) -> Literal["approved", "revoked", "finished", "unfinished"]:
    if approval is None:
        return "unfinished"
    if approval.state == "approved" and ledger.has_finished(protocol.study.name, protocol.digest):
        return "finished"
    return approval.state
