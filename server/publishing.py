"""`server publish`: a study goes out to the hospitals as one signed file of data.

Everything that a hospital would find wrong is found here first: loadings, roster, quorum, honest sites. The files are
kept in the coordinator's folder, so that what runs later is what was published.
"""

from pathlib import Path

from wardround.common.durable import write_atomic
from wardround.common.errors import ProtocolError, StorageError, WardroundError
from wardround.common.learning.loadings import read_loadings
from wardround.common.learning.monitored import FOLDER, Monitored
from wardround.common.learning.study import quorum_of, training_sites
from wardround.common.study.bundle import (
    STUDY,
    SUFFIX,
    check_path,
    read_bundle,
    read_bundle_file,
    write_bundle,
)
from wardround.common.study.decode import read_text
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.reader import loads
from wardround.common.trust.identity import PublicKey
from wardround.common.trust.rosterfile import open_roster
from wardround.server.coordinator import LOG
from wardround.server.enrolment import signed_roster
from wardround.server.serverfile import ServerFile
from wardround.server.studyrun import FEDERATION, RUN, StudyRun


def publish(folder: Path, study: Path) -> Path:
    """Write `DIR/studies/NAME/`: the protocol, its loadings, a model to monitor, and the bundle for the hospitals.

    Published again unchanged, under the same roster, it stays the same file; otherwise its revision is one more.

    Args:
        folder: The coordinator's folder.
        study: The `study.toml`; beside it stand its loadings file, and the released model that it monitors.

    Returns:
        The bundle, to be sent to every hospital.

    Raises:
        ProtocolError: The protocol or its loadings are not acceptable, or name sites that are not enrolled.
        StudyError: Fewer hospitals are enrolled than the study needs; or another study of this name is finished here.
        StorageError: Something could not be written; what was published before stays.
    """
    server = ServerFile.load(folder)
    key, roster, text = server.key(), signed_roster(folder), read_text(study)
    protocol = loads(text, str(study))
    loadings = _loadings(protocol, study.parent)
    monitored = _monitored(protocol, study.parent)
    _check_sites(protocol, tuple(open_roster(roster, key.public).roster.sites))
    home = server.studies / protocol.study.name
    home.mkdir(parents=True, exist_ok=True)
    path = home / f"{protocol.study.name}{SUFFIX}"
    revision = _next_revision(path, protocol, roster, key.public)
    data = write_bundle(key, study=text, loadings=loadings, roster=roster, revision=revision)
    if loadings is not None:
        place = home / protocol.inputs.loadings
        place.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(place, loadings)
    if monitored is not None:
        monitored.save(home / FOLDER)
    write_atomic(home / STUDY, text.encode())
    write_atomic(path, data)
    return path


def _loadings(protocol: StudyProtocol, folder: Path) -> bytes | None:
    """The loadings file that the protocol names, read as every hospital will read it."""
    if not protocol.inputs.loadings:
        return None
    check_path(protocol.inputs.loadings)
    read_loadings(protocol.inputs, folder)
    return (folder / protocol.inputs.loadings).read_bytes()


def _monitored(protocol: StudyProtocol, folder: Path) -> Monitored | None:
    """The released model that the protocol monitors, with the table that it is compared with."""
    if protocol.monitoring is None:
        return None
    found = Monitored.load(folder / FOLDER)
    found.check(protocol)
    return found


def _check_sites(protocol: StudyProtocol, enrolled: tuple[str, ...]) -> None:
    listed = {site.name for site in protocol.federation.sites} | protocol.external_sites
    if strangers := sorted(listed - set(enrolled)):
        raise ProtocolError(
            f"the protocol lists {', '.join(strangers)}, which is not enrolled here",
            advice="enrol it first (`wardround server enrol`), or take its [[federation.sites]] entry out, or its "
            "name out of evaluation.external_sites",
        )
    training = training_sites(protocol, enrolled)
    protocol.federation.weights(training)
    quorum_of(protocol, len(training))


def _next_revision(path: Path, protocol: StudyProtocol, roster: bytes, key: PublicKey) -> int:
    if not path.exists():
        return 1
    try:
        before = read_bundle(read_bundle_file(path), key)
    except WardroundError as error:
        raise StorageError(
            f"the bundle {path} that was published before cannot be read: {error}",
            advice="restore it from a copy, so that revisions go on; or move it away, and say so to the hospitals",
        ) from None
    same = before.protocol.digest == protocol.digest
    if not same:  # hospitals would set budget aside for a study that cannot start
        StudyRun(path=path.parent / RUN, log=path.parent / FEDERATION / LOG).check_unfinished()
    return before.revision if same and before.roster_file == roster else before.revision + 1
