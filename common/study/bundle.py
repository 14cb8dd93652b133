"""A study bundle: what a coordinator sends so that hospitals can review a study and approve it. Data only.

    {"format": "wardround-bundle", "version": 1, "revision": 2, "digest": "<of the protocol>",
     "files": {"study.toml": "<text>", "loadings.csv": "<text>"}, "roster": "<signed roster>", "signature": "..."}

`files` holds `study.toml`, the loadings file that it names by digest if it names one, and nothing else: there is no
place for code. No name in it becomes a path before it was compared with the protocol.

Assumes that the reader pinned the coordinator's key after people compared it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

from wardround.common.errors import ProtocolError, TrustError, UsageError
from wardround.common.formats import digest
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.reader import loads
from wardround.common.trust.identity import PublicKey, SigningKey
from wardround.common.trust.rosterfile import SignedRoster, open_roster
from wardround.common.trust.sealed import Kind, open_file, read_sent, seal_file
from wardround.common.trust.signed import is_count

SUFFIX: Final = ".wardround"
STUDY: Final = "study.toml"

LARGEST: Final = 64 * 2**20
"""Bytes of a bundle; 20 000 features with 100 public components take about 20 MB."""

KIND: Final = Kind(
    format="wardround-bundle",
    version=1,
    fields=frozenset({"revision", "digest", "files", "roster"}),
    longest=LARGEST,
)


RECORDS: Final = frozenset(
    {
        STUDY,
        "manifest.json",
        "study-log.jsonl",
        "checkpoints.jsonl",
        "cosignatures.jsonl",
        "roster.json",
        "results.json",
        "model.safetensors",
        "archive",
        "ledgers",
        "members",
        "approvals",
        "witness",
        "federation",
    }
)
"""Files and folders of what an auditor is handed: no file of a study may stand in their place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A bundle whose signature, protocol, files and roster were checked against each other.

    Attributes:
        protocol: The study.
        study: The text of `study.toml`, as the coordinator wrote it.
        loadings: Bytes of the loadings file; None where the protocol names none.
        roster: The members and the version of their list, signed by the coordinator.
        roster_file: The bytes of that signed list.
        revision: How often the coordinator has published a study of this name, from 1.
        data: The whole bundle.
    """

    protocol: StudyProtocol
    study: str = field(repr=False)
    loadings: bytes | None = field(repr=False)
    roster: SignedRoster = field(repr=False)
    roster_file: bytes = field(repr=False)
    revision: int
    data: bytes = field(repr=False)


def write_bundle(
    key: SigningKey, *, study: str, loadings: bytes | None, roster: bytes, revision: int
) -> bytes:
    """Make and sign a bundle.

    Args:
        key: The coordinator's.
        study: The text of `study.toml`.
        loadings: The loadings file; None exactly where the protocol names none.
        roster: The signed roster, as `seal_roster` gave it.
        revision: >= 1.

    Returns:
        The bytes of the file; `read_bundle` accepts them under the public key of `key`.

    Raises:
        ProtocolError: The protocol is not acceptable, or the loadings are not the ones it names.
        TrustError: The roster was not signed by this key.
        UsageError: The bundle would be larger than `LARGEST`.
    """
    protocol = loads(study, STUDY)
    files = {STUDY: study}
    if loadings is not None:
        files[protocol.inputs.loadings] = _text(loadings)
    fields: dict[str, object] = {
        "revision": revision,
        "digest": protocol.digest,
        "files": files,
        "roster": roster.decode(),
    }
    data = seal_file(key, KIND, fields)
    if len(data) > LARGEST:
        raise UsageError(
            f"expected a bundle of at most {LARGEST} bytes, found {len(data)}",
            advice="use fewer components, or fewer digits in the loadings",
        )
    read_bundle(data, key.public)
    return data


def read_bundle_file(path: Path) -> bytes:
    """The bytes of a bundle's file; of a larger one than any bundle only the beginning, which `read_bundle` refuses.

    Raises:
        StorageError: It cannot be read.
    """
    return read_sent(path, longest=LARGEST)


def read_bundle(data: bytes, coordinator_key: PublicKey) -> Bundle:
    """Check a bundle and open it.

    Args:
        data: The file, from anybody.
        coordinator_key: The key that the reader pinned.

    Guarantees:
        Returns only if the holder of that key signed exactly this content, the protocol is acceptable to this
        release and has the digest that was signed, and the bundle holds the files that it names and no others.

    Raises:
        TrustError: Signed by somebody else, changed, too large, or with a file that has no business in it.
        StorageError: Another kind of file, or from a newer release.
        ProtocolError, PrivacyError: The protocol is not acceptable.
    """
    found = open_file(data, KIND, signer=lambda _: coordinator_key, where="the study bundle")
    match found:
        case {"revision": int(revision), "digest": str(signed), "files": dict(files), "roster": str(roster)}:
            protocol = _protocol(_texts(files), signed)
            return Bundle(
                protocol=protocol,
                study=str(files[STUDY]),
                loadings=_loadings(_texts(files), protocol),
                roster=open_roster(roster.encode(), coordinator_key, where="the roster in the study bundle"),
                roster_file=roster.encode(),
                revision=_revision(revision),
                data=data,
            )
    raise TrustError("a field of the study bundle has the wrong type")


def _texts(files: Mapping[object, object]) -> Mapping[str, str]:
    if STUDY not in files:
        raise TrustError(f"expected {STUDY} in the study bundle, found none")
    if not all(isinstance(text, str) for text in files.values()):
        raise TrustError("expected every file in the study bundle to be text")
    return {str(name): str(text) for name, text in files.items()}


def _protocol(files: Mapping[str, str], signed: str) -> StudyProtocol:
    protocol = loads(files[STUDY], STUDY)
    if protocol.digest != signed:
        raise TrustError(
            "the protocol in the study bundle has another digest here than the coordinator signed",
            advice="all parties of a study install the same release",
        )
    return protocol


def _loadings(files: Mapping[str, str], protocol: StudyProtocol) -> bytes | None:
    """The loadings, after every other file was refused."""
    name = protocol.inputs.loadings
    if strange := sorted(files.keys() - ({STUDY, name} if name else {STUDY})):
        raise TrustError(
            f"the study bundle holds {strange[0]!r:.80}, which is neither {STUDY} nor its loadings",
            advice="a study is data; nothing else is accepted from a coordinator",
        )
    if not name:
        return None
    check_path(name)
    data = files.get(name, "").encode()
    if digest(data) != protocol.inputs.loadings_sha256:
        raise TrustError(f"the study bundle lacks the loadings file {name!r:.80} that the study names")
    return data


def check_path(name: str) -> None:
    """Refuse a loadings file's name that leads out of the folder of `study.toml`, or stands for a record of the study.

    Raises:
        ProtocolError: Naming it.

    Example:
        >>> check_path("../identity.pem")
        Traceback (most recent call last):
        ...
        wardround.common.errors.ProtocolError: expected a plain path beside study.toml as `inputs.loadings`, found ...
    """
    path = PurePosixPath(name)
    plain = name.isprintable() and "\\" not in name and str(path) == name
    taken = not path.parts or path.parts[0].casefold() in RECORDS
    if not plain or path.is_absolute() or ".." in path.parts or taken:
        raise ProtocolError(
            f"expected a plain path beside {STUDY} as `inputs.loadings`, found {name!r:.80}",
            advice="keep the loadings file beside study.toml, under a name of its own such as loadings.csv",
        )


def _text(loadings: bytes) -> str:
    try:
        return loadings.decode()
    except UnicodeDecodeError:
        raise ProtocolError("expected the loadings file to be UTF-8 text, found other bytes") from None


def _revision(found: int) -> int:
    if not is_count(found) or not found:
        raise TrustError("expected a revision of 1 or more in the study bundle")
    return found
