"""What a site approved: one folder per protocol, readable only by the site, each approval signed by its own key.

    approvals/<protocol digest>/
        study.toml         the protocol
        bundle-D.wardround what the coordinator signed, as it came; D is the beginning of its digest
        cohort-N.npz       the training patients, frozen at approval; gone after a revocation
        cohort-N-held-out.npz  likewise those who are held out, where the study evaluates on them
        approval.json      the approval: written last, and without it nothing above counts

Guarantees:
    - An approval counts only whole: its file names the digests of the other files, and is replaced in one step.
    - The roster that messages are verified with is the one in the approval, never one that came with a message.

Assumes that whoever can write into the folder speaks for the site.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal, get_args

from wardround.client.joining import Pinned
from wardround.common.durable import write_atomic
from wardround.common.errors import StorageError, TrustError, WardroundError
from wardround.common.study.bundle import STUDY, SUFFIX
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.reader import load
from wardround.common.trust.identity import PublicKey, Roster, SigningKey
from wardround.common.trust.sealed import Kind, open_file, seal_file
from wardround.common.trust.signed import is_count, is_digest

APPROVALS: Final = "approvals"
APPROVAL: Final = "approval.json"

State = Literal["approved", "revoked"]

_TEXTS: Final = frozenset({"study", "digest", "state", "time", "cohort", "held_out", "bundle"})
_COUNTS: Final = frozenset({"number", "revision", "roster_version", "width", "ledger_seq"})
KIND: Final = Kind(format="wardround-approval", version=1, fields=_TEXTS | _COUNTS | {"roster"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """One study that this site approved, under one protocol.

    Attributes:
        folder: Where its files are.
        protocol: The study.
        roster: The members and their keys, as they were approved.
        roster_version: Version of the coordinator's list.
        revision: The coordinator's count of this study's publications.
        state: `approved`, or `revoked`: then the site declines.
        number: How often this protocol was approved here, from 1.
        time: When, UTC, for people.
        width: Inputs of the model; public.
        cohort, held_out, bundle: SHA-256 of the frozen patients who train, of those held out (empty for none), and of
            the bundle.
        ledger_seq: The ledger's newest entry at approval; orders all approvals of the site.
    """

    folder: Path
    protocol: StudyProtocol
    roster: Roster
    roster_version: int
    revision: int
    state: State
    number: int
    time: str
    width: int
    cohort: str = field(repr=False)
    held_out: str = field(repr=False)
    bundle: str = field(repr=False)
    ledger_seq: int

    @property
    def name(self) -> str:
        """Name of the study."""
        return self.protocol.study.name

    @property
    def cohort_path(self) -> Path:
        """The frozen patients."""
        return self.folder / f"cohort-{self.number}.npz"

    @property
    def held_out_path(self) -> Path:
        """The frozen patients who are held out."""
        return self.folder / f"cohort-{self.number}-held-out.npz"

    @property
    def bundle_path(self) -> Path:
        """The coordinator's bundle."""
        return bundle_path(self.folder, self.bundle)

    def write(self, key: SigningKey) -> None:
        """Sign and write the approval: the step that makes it count.

        Raises:
            StorageError: The disk is full; what was approved before stays.
        """
        fields: dict[str, Any] = {
            name: getattr(self, name) for name in (_TEXTS | _COUNTS) - {"study", "digest"}
        }
        fields |= {"study": self.name, "digest": self.protocol.digest, "roster": self.roster.to_dict()}
        write_atomic(self.folder / APPROVAL, seal_file(key, KIND, fields), mode=0o600)

    def revoked(self) -> "Approval":
        """The same approval, withdrawn."""
        return replace(self, state="revoked")


def folder_of(site: Path, digest: str) -> Path:
    """Where a site keeps what it approved under a protocol.

    Raises:
        TrustError: `digest` is none, and must not become a path.
    """
    if not is_digest(digest):
        raise TrustError("expected a protocol digest of 64 hexadecimal digits")
    return site / APPROVALS / digest


def forget_patients(folder: Path) -> None:
    """Remove every file of frozen patients, also one that an approval which was cut off left behind.

    Args:
        folder: Of one protocol.

    Raises:
        StorageError: One cannot be removed.
    """
    for path in folder.glob("*cohort-*.npz*"):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"could not remove {path}: {error.strerror or error}") from error


def bundle_path(folder: Path, sha256: str) -> Path:
    """Where a bundle is kept."""
    return folder / f"bundle-{sha256[:16]}{SUFFIX}"


def read_approval(site: Path, digest: str, key: PublicKey) -> Approval | None:
    """The approval of a protocol, whatever its state; None where this site never approved it.

    Args:
        site: The site's folder.
        digest: Of the protocol.
        key: The site's own.

    Raises:
        TrustError: Not signed by this site, or not about this protocol.
        StorageError: A file cannot be read.
    """
    folder = folder_of(site, digest)
    path = folder / APPROVAL
    if not path.exists():
        return None
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StorageError(f"could not read {path}: {error.strerror or error}") from error
    found = open_file(data, KIND, signer=lambda _: key, where=str(path))
    protocol = load(folder / STUDY)
    if not protocol.digest == found["digest"] == digest:
        raise TrustError(
            f"{folder / STUDY} is not the study that was approved",
            advice="revoke it, and approve it again from the coordinator's bundle",
        )
    return _approval(found, folder, protocol)


def _approval(found: Mapping[str, object], folder: Path, protocol: StudyProtocol) -> Approval:
    texts = {name: found[name] for name in _TEXTS}
    counts = {name: found[name] for name in _COUNTS}
    roster = found["roster"]
    right = all(isinstance(text, str) for text in texts.values()) and all(map(is_count, counts.values()))
    if not (right and isinstance(roster, dict) and texts["state"] in get_args(State)):
        raise TrustError(f"a field of {folder / APPROVAL} has the wrong type")
    terms: dict[str, Any] = {name: text for name, text in texts.items() if name not in ("study", "digest")}
    return Approval(folder=folder, protocol=protocol, roster=Roster.from_dict(roster), **terms, **counts)  # type: ignore[arg-type]  # counted above


def approved(site: Path, digest: str) -> Approval | None:
    """As `read_approval`, with the site's key as it was pinned when the site joined."""
    return read_approval(site, digest, Pinned.load(site).site_key)


def approvals(site: Path) -> tuple[Approval, ...]:
    """Everything that this site approved, revoked studies too, in the order of approval.

    Raises:
        TrustError, StorageError: As `read_approval`.
    """
    key = Pinned.load(site).site_key
    found = [read_approval(site, path.name, key) for path in _folders(site)]
    return tuple(
        sorted((one for one in found if one is not None), key=lambda one: (one.ledger_seq, one.time))
    )


def last_approved(site: Path, study: str) -> Approval | None:
    """The newest approval of a study of this name, whatever its protocol; None if there was none."""
    return next((one for one in reversed(approvals(site)) if one.name == study), None)


def protocols(site: Path) -> Mapping[str, StudyProtocol]:
    """Digest -> protocol of every study whose approval was begun, finished or not."""
    found: dict[str, StudyProtocol] = {}
    for folder in _folders(site):
        try:
            protocol = load(folder / STUDY)
        except WardroundError:  # begun and cut off before it was written: nothing can have been reserved
            continue
        if protocol.digest == folder.name:
            found[folder.name] = protocol
    return found


def _folders(site: Path) -> list[Path]:
    root = site / APPROVALS
    return [path for path in sorted(root.iterdir()) if is_digest(path.name)] if root.exists() else []
