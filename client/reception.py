"""Where messages arrive at a hospital in a deployment: finds the approved study, and lets its `Site` answer.

Made for one message in a process of its own, which read nothing before: so a revoked approval, a changed policy or
another peer counts at once. The header of a message is read before anything is verified, only to find the approval
that it claims; every check is then made by `Site.answer`, with the roster pinned in that approval.

Guarantees:
    - Without an approval signed by this site nothing is opened but its policy, key and approvals.
    - Whatever goes wrong leaves as one constant error; its reason stays in the site's own bounded file.

Heavy libraries are imported here once, so that a parent process can load them and fork. Tables are not read.
"""

import contextlib
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from wardround.client.approvals import Approval, read_approval
from wardround.client.consenting import Consent
from wardround.client.frozen import FrozenTrainer, frozen_examiner, frozen_trainer
from wardround.client.joining import Pinned
from wardround.client.office import PATIENCE, Office
from wardround.client.refusals import RefusalFile
from wardround.client.site import Site
from wardround.common.errors import PolicyRefusal, TrustError, WardroundError
from wardround.common.trust.envelope import claimed_digest
from wardround.common.trust.ledger import Ledger

if TYPE_CHECKING:
    from wardround.client.app import SiteFor


def site_for(folder: Path) -> "SiteFor":
    """Answers for the site in `folder`, whatever a node's configuration says.

    Args:
        folder: The site's own folder, with `site.toml`.
    """
    reception = Reception(folder)
    return lambda _: contextlib.nullcontext(reception)


class Reception:
    """One hospital, in all the studies that it approved.

    Args:
        folder: The site's own folder.
        patience: Seconds to wait for the ledger while another process of the site has it open.
    """

    def __init__(self, folder: Path, *, patience: float = PATIENCE) -> None:
        self._folder = folder
        self._patience = patience
        self._refusals = RefusalFile(folder)

    def answer(self, data: bytes) -> bytes:
        """Answer one message, as `Site.answer`, in the study that it claims to be about.

        Raises:
            TrustError: No such study was approved here, or the coordinator did not sign the message.
            WardroundError: The site cannot open its own folder. The reason is in its refusal file.
        """
        try:
            with self._opened(claimed_digest(data)) as site:
                return site.answer(data)
        except Exception as error:
            self._refusals.note("reception", _reason(error))
            raise

    @contextlib.contextmanager
    def _opened(self, digest: str) -> Iterator[Site]:
        office = Office.load(self._folder)
        approval = self._approval(office, digest)
        with office.ledger(patience=self._patience) as ledger:
            yield Site(
                self._folder,
                name=office.policy.site,
                key=office.key,
                roster=approval.roster,
                protocol=approval.protocol,
                door=office.door(ledger),
                trainer=_trainer(approval, office),
                examiner=_examiner(approval),
                desk=office.desk(approval.protocol) if approval.protocol.joint else None,
                consent=lambda: _consent(approval, office, ledger),
                terms=Consent(by="person", roster_version=approval.roster_version),
            )

    def _approval(self, office: Office, digest: str) -> Approval:
        approval = read_approval(self._folder, digest, office.key.public)
        if approval is None:
            raise TrustError(
                f"a message came for protocol {digest[:16]}, which this site never approved",
                advice="if the coordinator published a new version: `wardround site review`, then `approve`",
            )
        if approval.roster.coordinator_key != Pinned.load(self._folder).coordinator_key:
            raise TrustError(
                f"study {approval.name} was approved for a coordinator that this site does not know any more",
                advice="revoke it; approve it again from the present coordinator's bundle",
            )
        return approval


def _consent(approval: Approval, office: Office, ledger: Ledger) -> None:
    """What a person at the site decided holds until a person changes it.

    Raises:
        PolicyRefusal: The approval was withdrawn, or the policy allows the study no more.
        TrustError: The approval is not the one for which the ledger holds a reservation.
    """
    if approval.state != "approved":
        raise PolicyRefusal(f"study {approval.name} was revoked at this site")
    key = approval.name, approval.protocol.digest
    reserved = [ledger.reservation(*key), ledger.held_out.reservation(*key)]
    if any(one is not None and one.seq > approval.ledger_seq for one in reserved):
        raise TrustError(
            f"study {approval.name} was approved again later than this approval says",
            advice="an earlier state of the folder was restored, with patients who may have left: approve it again",
        )
    office.policy.check(approval.protocol)


def _trainer(approval: Approval, office: Office) -> FrozenTrainer:
    return frozen_trainer(
        approval.protocol,
        approval.cohort_path,
        sha256=approval.cohort,
        width=approval.width,
        site=office.policy.site,
    )


def _examiner(approval: Approval) -> FrozenTrainer | None:
    if approval.protocol.evaluation is None:
        return None
    return frozen_examiner(
        approval.protocol, approval.held_out_path, sha256=approval.held_out, width=approval.width
    )


def _reason(error: Exception) -> str | list[str]:
    return error.diagnostics() if isinstance(error, WardroundError) else traceback.format_exception(error)
