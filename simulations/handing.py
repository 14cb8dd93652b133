"""A simulated run as an auditor's bundle: the same record that coordinator and hospitals keep of a real study.

A simulation measures on patients; what it measured is exact and stays in the run folder. The bundle holds what a
deployment would: protocol, log, checkpoints, archive, claim, model, and the ledgers of the sites.
"""

from collections.abc import Iterator
from pathlib import Path

from wardround.client.consenting import SIMULATED
from wardround.client.handing import own_record
from wardround.client.office import Office
from wardround.client.policy import SitePolicy
from wardround.common.audit.bundling import write_bundle
from wardround.common.errors import StorageError
from wardround.common.study.bundle import STUDY, check_path
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.reader import load
from wardround.common.trust.identity import Roster, SigningKey
from wardround.common.trust.studylog import read_own_log
from wardround.server.cardfacts import MODEL
from wardround.server.coordinator import LOG
from wardround.server.handing import record
from wardround.server.studyrun import FEDERATION
from wardround.simulations.federation import coordinator_key
from wardround.simulations.hospitals import open_ledger
from wardround.simulations.runfolder import open_run

SITES = "sites"


def hand_over(run: Path, out: Path, *, sites: Path | None = None) -> Path:
    """Bundle a finished run.

    Args:
        run: The run folder.
        out: The folder to make.
        sites: Where the hospitals' folders are; None for those that the run imagined.

    Raises:
        StorageError: No finished run, or something cannot be read or written.
        UsageError: `out` exists.
        ProtocolError: The loadings have the name of a record.
        TrustError: Log or a ledger were changed.
    """
    folder = open_run(run)
    protocol, federation = load(folder.protocol), run / FEDERATION
    roster = roster_in(federation, coordinator_key(federation))
    files: dict[str, Path | bytes] = {STUDY: folder.protocol, MODEL: folder.model}
    if protocol.inputs.loadings:
        check_path(protocol.inputs.loadings)
        files[protocol.inputs.loadings] = run / protocol.inputs.loadings
    files |= record(federation, protocol, roster)
    for office in _offices(sites or run / SITES, roster):
        files |= _own(office, protocol, roster)
    return write_bundle(
        out,
        files,
        kind="simulation",
        study=protocol.study.name,
        protocol=protocol.digest,
        by=roster.coordinator,
    )


def roster_in(federation: Path, key: SigningKey) -> Roster:
    """The roster of the run, from its log."""
    for entry in read_own_log(federation / LOG, key.public):
        if entry.kind == "roster":
            return Roster.from_dict(dict(entry.data))
    raise StorageError(f"expected a roster in {federation / LOG}, found none")


def _offices(root: Path, roster: Roster) -> Iterator[Office]:
    """The sites of the roster whose folders are below `root`."""
    for path in sorted(root.glob("*/site.toml")):
        if SitePolicy.load(path).site in roster.sites:
            yield Office.load(path.parent)


def _own(office: Office, protocol: StudyProtocol, roster: Roster) -> dict[str, Path | bytes]:
    with open_ledger(office) as ledger:
        return own_record(office, ledger, protocol, roster, SIMULATED)
