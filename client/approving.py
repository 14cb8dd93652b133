"""Approving a study: the act of a person at the site, which no message ever calls.

Order, each step durable before the next: the files of the study and its frozen patients; the reservation in the
ledger; the approval itself. Cut off before the last step, nothing was approved, and what was reserved for it is found
again by the next attempt. So an approved study always has its reservation.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from wardround.client.approvals import Approval, bundle_path, folder_of, read_approval
from wardround.client.cohort import build_cohort, verbatim_columns
from wardround.client.frozen import to_bytes
from wardround.client.heldout import SPLIT_KEY, own_split_key, split
from wardround.client.joining import Pinned, accept_roster
from wardround.client.office import Office
from wardround.client.tables import read_table
from wardround.common.durable import sync_folder, write_atomic
from wardround.common.errors import PolicyRefusal, TrustError, UsageError
from wardround.common.formats import digest
from wardround.common.learning.data import PatientRows
from wardround.common.learning.features import FeaturePath
from wardround.common.learning.loadings import parse_loadings
from wardround.common.learning.tabulating import Codes, group_codes
from wardround.common.study.bundle import STUDY, Bundle, read_bundle
from wardround.common.study.parts import main_account
from wardround.common.study.protocol import StudyProtocol
from wardround.common.trust.ledger import Ledger
from wardround.common.trust.signed import timestamp, utc_now

Again = Literal["once", "again"]
"""Whether a person said that a finished study may be run once more, on top of what it spent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Approved:
    """What an approval did.

    Attributes:
        approval: As it stands now.
        change: `approved`; `roster` where only the members' list was renewed; `known` where nothing changed.
    """

    approval: Approval
    change: Literal["approved", "roster", "known"]


def approve(site: Path, data: bytes, *, again: Again = "once") -> Approved:
    """Approve the study of a bundle: reserve its whole cost and freeze its training patients.

    A study that is open already keeps its reservation and its patients; only a newer roster is taken over.

    Args:
        site: The site's folder.
        data: The bundle.
        again: `again` lets a finished study be reserved once more; what it spent stays charged.

    Guarantees:
        After a crash at any point the study is approved as a whole or as little as before, and if it is approved,
        its reservation is in the ledger.

    Raises:
        PolicyRefusal: The policy or a lifetime cap refuses the study, or it is finished here.
        CohortError: The table does not fit.
        TrustError: The bundle is not the pinned coordinator's, its roster is older than the newest that was seen, or
            does not hold this site with its own key; or the key of the site's split is gone.
    """
    office, pinned = Office.load(site), Pinned.load(site)
    bundle = read_bundle(data, pinned.coordinator_key)
    check_roster(bundle, office, pinned)
    office.policy.check(bundle.protocol)
    before = read_approval(site, bundle.protocol.digest, office.key.public)
    with office.ledger() as ledger:
        _check_split(office, ledger)
        account = main_account(bundle.protocol, office.policy.site, ledger)
        goes_on = _goes_on(bundle.protocol, before, account, again)
    accept_roster(site, bundle.roster_file)
    if goes_on and before is not None:
        return _renewed(before, bundle, office)
    return Approved(approval=_approve_anew(office, bundle, before), change="approved")


def _check_split(office: Office, ledger: Ledger) -> None:
    """Refuse to draw a new split where patients were held out before: the new one would mix those with who trained.

    Raises:
        TrustError: The key of the split is gone.
    """
    if not (office.folder / SPLIT_KEY).exists() and any(charge.share for charge in ledger.charges()):
        raise TrustError(
            f"expected {SPLIT_KEY} in the site's folder, which held patients out before; found none",
            advice="restore it from a backup; with a new one, patients who trained would evaluate and be charged to "
            "the wrong account",
        )


def check_roster(bundle: Bundle, office: Office, pinned: Pinned) -> None:
    """Refuse a roster of another consortium, or one without this site under its own key.

    Raises:
        TrustError: Either.
    """
    roster, name = bundle.roster.roster, office.policy.site
    if roster.coordinator != pinned.coordinator:
        raise TrustError(
            f"the study's coordinator is {roster.coordinator!r}; this site joined {pinned.coordinator!r}"
        )
    if roster.sites.get(name) != office.key.public:
        raise TrustError(
            f"the study's roster does not hold {name!r} with this site's own key",
            advice="ask the coordinator to enrol this site's request.json, and to publish the study again",
        )


def _goes_on(protocol: StudyProtocol, before: Approval | None, ledger: Ledger, again: Again) -> bool:
    """Whether the study is approved and open.

    Raises:
        PolicyRefusal: It is finished, and nobody said `again`.
        UsageError: `again` was said of a study that is not finished.
    """
    key = protocol.study.name, protocol.digest
    withdrawn = before is not None and before.state == "revoked"
    finished = ledger.has_finished(*key) and not withdrawn
    if finished and again == "once":
        raise PolicyRefusal(
            f"study {protocol.study.name} is finished at this site under this protocol",
            advice="to run it once more, on top of what it spent, approve it with --again",
        )
    if again == "again" and not ledger.has_finished(*key):
        raise UsageError(
            f"study {protocol.study.name} is not finished here: there is nothing to run again",
            advice="leave --again out",
        )
    return before is not None and not withdrawn and ledger.has_open(*key)


def _renewed(before: Approval, bundle: Bundle, office: Office) -> Approved:
    """The same study under the bundle's roster; patients, number and reservation stay."""
    if bundle.roster.version == before.roster_version:
        return Approved(approval=before, change="known")
    write_atomic(bundle_path(before.folder, digest(bundle.data)), bundle.data, mode=0o600)
    after = replace(
        before,
        roster=bundle.roster.roster,
        roster_version=bundle.roster.version,
        revision=bundle.revision,
        bundle=digest(bundle.data),
    )
    after.write(office.key)
    _tidy(after)
    return Approved(approval=after, change="roster")


def _approve_anew(office: Office, bundle: Bundle, before: Approval | None) -> Approval:
    found = frozen_patients(office, bundle)
    cohort, held_out = to_bytes(found.training), b""
    if found.held_out is not None:
        held_out = to_bytes(*found.held_out)
    draft = Approval(
        folder=_make_folder(office.folder, bundle.protocol.digest),
        protocol=bundle.protocol,
        roster=bundle.roster.roster,
        roster_version=bundle.roster.version,
        revision=bundle.revision,
        state="approved",
        number=before.number + 1 if before else 1,
        time=timestamp(utc_now()),
        width=int(found.training.inputs.shape[1]),
        cohort=digest(cohort),
        held_out=digest(held_out) if held_out else "",
        bundle=digest(bundle.data),
        ledger_seq=0,
    )
    write_atomic(draft.folder / STUDY, bundle.study.encode(), mode=0o600)
    write_atomic(draft.bundle_path, bundle.data, mode=0o600)
    write_atomic(draft.cohort_path, cohort, mode=0o600)
    if held_out:
        write_atomic(draft.held_out_path, held_out, mode=0o600)
    approval = _commit(office, draft, before)
    _tidy(approval)
    return approval


def _commit(office: Office, draft: Approval, before: Approval | None) -> Approval:
    """Reserve, then let the approval count; one of a finished study counts no more from before its new reservation."""
    with office.ledger() as ledger:
        try:
            if before is not None:
                before.revoked().write(office.key)
            _reserve(office, ledger, draft.protocol, before)
        except Exception:
            if before is not None:
                before.write(office.key)
            _discard(draft, before)
            raise
        approval = replace(draft, ledger_seq=ledger.head[0])
        approval.write(office.key)
        return approval


def _discard(draft: Approval, before: Approval | None) -> None:
    """Remove the files of an approval that was refused."""
    draft.cohort_path.unlink()
    draft.held_out_path.unlink(missing_ok=True)
    if before is None:
        draft.bundle_path.unlink()
        (draft.folder / STUDY).unlink()


def _tidy(approval: Approval) -> None:
    """Remove the files of earlier approvals, frozen patients first of all."""
    for old in (*approval.folder.glob("cohort-*.npz"), *approval.folder.glob("bundle-*")):
        if old not in (approval.cohort_path, approval.held_out_path, approval.bundle_path):
            old.unlink()


def _reserve(office: Office, ledger: Ledger, protocol: StudyProtocol, before: Approval | None) -> None:
    """Reserve; after a revocation or a finished run anew, on top of what was spent."""
    door, withdrawn = office.door(ledger), before is not None and before.state == "revoked"
    account = main_account(protocol, office.policy.site, ledger)
    if withdrawn or account.has_finished(protocol.study.name, protocol.digest):
        door.reserve_anew(protocol)
    else:
        door.reserve(protocol)


@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenPatients:
    """Who takes part in a study at a site.

    Attributes:
        training: Nobody at an external site, or where a released model is monitored.
        held_out: Who evaluates, and their groups; None where the study does not evaluate.
    """

    training: PatientRows = field(repr=False)
    held_out: tuple[PatientRows, Codes] | None = field(repr=False)


def frozen_patients(office: Office, bundle: Bundle) -> FrozenPatients:
    """The site's patients, who train and who are held out: decided here once for the whole study.

    Raises:
        CohortError: The table does not fit, or too few patients are in it.
    """
    protocol, policy = bundle.protocol, office.policy
    frame = read_table(policy.table, verbatim=verbatim_columns(protocol, columns=policy.columns))
    own = build_cohort(
        protocol,
        frame,
        site=policy.site,
        path=feature_path(bundle),
        minimum=policy.minimum_patients(protocol),
        columns=policy.columns,
    )
    train, test = split(own.patients, protocol.cohort.test_fraction, own_split_key(office.folder))
    if policy.site in protocol.external_sites:
        test = np.arange(len(own.patients))
    if not protocol.trains(policy.site):
        train = train[:0]
    held_out = None
    if protocol.evaluation is not None:
        groups = {str(name): column.to_numpy(dtype=object)[test] for name, column in own.groups.items()}
        held_out = own.rows.take(test), group_codes(protocol.evaluation, groups, len(test))
    return FrozenPatients(training=own.rows.take(train), held_out=held_out)


def feature_path(bundle: Bundle) -> FeaturePath:
    """The public feature path of a bundle's study, with the loadings that came in the bundle.

    Raises:
        ProtocolError: The loadings do not fit the study.
    """
    protocol = bundle.protocol
    return FeaturePath(
        features=protocol.features,
        optional_modalities=protocol.cohort.optional_modalities,
        inputs=protocol.inputs,
        loadings=None if bundle.loadings is None else parse_loadings(bundle.loadings),
    )


def _make_folder(site: Path, protocol_digest: str) -> Path:
    folder = folder_of(site, protocol_digest)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    sync_folder(folder.parent)
    sync_folder(site)
    return folder
