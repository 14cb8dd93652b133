"""What a hospital hands to an auditor: its own signed record of one study, in copies, and nothing of its patients.

    ledgers/NAME.jsonl          the ledger of the patient pool, and the head that witnesses its end
    ledgers/NAME.head.json
    approvals/NAME.json         its signed approval
    witness/NAME.json           its signed word on how much of each run's log it cosigned, under which root
    study.toml (and loadings)   the protocol as it was approved
    members/NAME.json           the list of members as it was approved; the study may have run with a newer one

The ledger shows every study of this pool, by name and digest, with what each cost: without that no lifetime total can
be checked. Policy, caps, paths, tables and frozen patients stay where they are.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, get_args

from wardround.client.approvals import last_approved
from wardround.client.consenting import Consent, approval_statement
from wardround.client.office import Office
from wardround.common.audit.bundling import file_name, write_bundle
from wardround.common.errors import UsageError
from wardround.common.study.bundle import STUDY, read_bundle, read_bundle_file
from wardround.common.study.protocol import StudyProtocol
from wardround.common.trust.identity import Roster
from wardround.common.trust.ledger import LEDGER, Ledger, read_ledger
from wardround.common.trust.ledgerline import Entry
from wardround.common.trust.ledgernames import Pool, pool_of
from wardround.common.trust.sealed import layout
from wardround.common.trust.statement import sign_statement

WITNESS: Final = "witness"
MEMBERS: Final = "members"


def hand_over(site: Path, study: str, out: Path) -> Path:
    """Bundle what this site knows of a study; `wardround site bundle`.

    Raises:
        UsageError: No study of this name was approved here, or `out` exists.
        LockedError: A run has the ledger open.
        TrustError: Ledger or approval were changed.
        StorageError: Something cannot be read or written.
    """
    office, approval = Office.load(site), last_approved(site, study)
    if approval is None:
        raise UsageError(f"no study {study!r} was approved here", advice="see: wardround site studies DIR")
    consent = Consent(by="person", roster_version=approval.roster_version)
    with office.ledger() as ledger:
        files = own_record(office, ledger, approval.protocol, approval.roster, consent)
    bundle = read_bundle(read_bundle_file(approval.bundle_path), approval.roster.coordinator_key)
    members = f"{MEMBERS}/{file_name(office.policy.site)}.json"
    files |= {STUDY: bundle.study.encode(), members: layout(approval.roster.to_dict())}
    if bundle.loadings is not None:
        files[bundle.protocol.inputs.loadings] = bundle.loadings
    return write_bundle(
        out, files, kind="site", study=study, protocol=approval.protocol.digest, by=office.policy.site
    )


def own_record(
    office: Office, ledger: Ledger, protocol: StudyProtocol, roster: Roster, consent: Consent
) -> dict[str, Path | bytes]:
    """The ledger, its head, the approval and the site's word on the log.

    Args:
        office: The site.
        ledger: Its open ledger: nobody writes meanwhile.
        protocol: The study.
        roster: The members as they were approved.
        consent: How the site came to take part.
    """
    site, key, path = office.policy.site, office.key, office.policy.ledger / LEDGER
    name, study = file_name(site), protocol.study.name
    logs = {run: seen.to_dict() for run, seen in ledger.cosigned(study, protocol.digest).items()}
    said = {"site": site, "study": study, "protocol": protocol.digest, "logs": logs}
    files: dict[str, Path | bytes] = {
        f"ledgers/{name}.jsonl": path.read_bytes(),
        f"witness/{name}.json": sign_statement(key, WITNESS, said),
    }
    if office.policy.head.exists():
        files[f"ledgers/{name}.head.json"] = office.policy.head.read_bytes()
    if reserved := _reserved(read_ledger(path, key.public), protocol):
        files[f"approvals/{name}.json"] = approval_statement(
            key, site=site, protocol=protocol, roster=roster, consent=consent, reserved=reserved
        )
    return files


def _reserved(entries: Iterable[Entry], protocol: StudyProtocol) -> Sequence[Entry]:
    """The newest reservations of a study, open or not: of training first."""
    of_study = {"study": protocol.study.name, "protocol": protocol.digest}.items()
    found = {
        pool_of(one.payload): one
        for one in entries
        if one.kind == "reserve" and of_study <= one.payload.items()
    }
    return [found[pool] for pool in get_args(Pool) if pool in found]
