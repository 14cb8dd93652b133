"""A witness's own copy of a study's log: every line verified, every checkpoint compared, nothing believed or forgotten.

    DIR/study-log.jsonl    the lines, as far as a verified checkpoint covers them
    DIR/checkpoint.note    the newest checkpoint that was verified: what this witness remembers
    DIR/refused-SIZE.note  a checkpoint that the service showed when lines or checkpoint were refused: evidence

The lines are durable before the checkpoint is, and the checkpoint before anybody is told of it. So after a crash at any
byte the copy is at least as long as what was cosigned, and following goes on from there.

Guarantees:
    A checkpoint that `take` gives continues every checkpoint that it ever gave for this folder: the copy only grows,
    and its root is computed again from its own lines.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from wardround.common.audit.logwire import Page
from wardround.common.durable import append_line, cut, write_atomic
from wardround.common.errors import TrustError
from wardround.common.trust.checkpoint import SignedCheckpoint, origin, parse, verify
from wardround.common.trust.identity import PublicKey
from wardround.common.trust.ledgerfile import make_folder, read_bytes, split
from wardround.common.trust.merkle import Tree
from wardround.common.trust.signed import is_digest, is_run
from wardround.common.trust.studylog import LogEntry, read_next

LOG: Final = "study-log.jsonl"
NOTE: Final = "checkpoint.note"
_MOST_WAITING: Final = 256 * 1024 * 1024  # bytes of lines without a checkpoint
_KEEP: Final = (
    "keep this folder as it is: it is evidence. Compare with a hospital's copy, and tell the consortium"
)


class FollowedLog:
    """The copy in one folder, which only one process uses at a time.

    Args:
        folder: Where it is kept; made if need be.
        study: Name of the study.
        coordinator: The key whose log this is.
        cosigners: Name of a party -> its key, whose cosignatures are checked.

    Attributes:
        study: Name of the study.
        size: Number of lines that were verified.
        remembered: The newest checkpoint that was verified; None before the first.

    Raises:
        TrustError: The copy was changed, or is behind what is remembered.
        StorageError: It cannot be read.
    """

    def __init__(
        self, folder: Path, study: str, *, coordinator: PublicKey, cosigners: Mapping[str, PublicKey]
    ) -> None:
        make_folder(folder)
        self._folder = folder
        self.study = study
        self._coordinator = coordinator
        self._cosigners = dict(cosigners)
        self._tree = Tree()
        self._last: LogEntry | None = None
        self._waiting: list[bytes] = []
        self._origin = ""
        self.remembered: SignedCheckpoint | None = None
        self._open()

    @property
    def size(self) -> int:
        """Number of lines that were verified: from here the log is followed."""
        return self._tree.size

    @property
    def entry(self) -> LogEntry | None:
        """The last line."""
        return self._last

    def take(self, step: Page | SignedCheckpoint) -> SignedCheckpoint | None:
        """Verify what the log service said next.

        Returns:
            A checkpoint that was verified, is newer than all before, and is durable with every line under it; None for
            lines, or for a checkpoint that is not newer.

        Raises:
            TrustError: A line or checkpoint is not what it must be; of a fork, the evidence was kept.
            StorageError: The copy could not be written.
        """
        if isinstance(step, Page):
            if step.start != self.size:
                raise TrustError(
                    f"expected line {self.size + 1} from the log service, found {step.start + 1}"
                )
            for line in step.lines:
                self._add(line)
                self._waiting.append(line)
            if sum(map(len, self._waiting)) > _MOST_WAITING:
                raise TrustError(f"expected a checkpoint within {_MOST_WAITING} bytes of lines, found none")
            return None
        self._check(step)
        if self.remembered and step.checkpoint.size <= self.remembered.checkpoint.size:
            return None
        self._keep(step)
        return step

    def cosigned(self, signed: SignedCheckpoint) -> tuple[str, ...]:
        """Who of the known parties cosigned a checkpoint of this log.

        Raises:
            TrustError: The coordinator did not sign it, or a cosignature does not verify.
        """
        found = verify(
            signed, origin=self._origin, coordinator=self._coordinator, cosigners=self._cosigners.values()
        )
        return tuple(name for name, key in self._cosigners.items() if key.fingerprint in found)

    def set_aside(self, signed: SignedCheckpoint) -> None:
        """Keep a checkpoint as evidence: of a fork, or of a log whose lines were refused.

        Raises:
            TrustError: The coordinator did not sign it: then it is evidence of nothing, and is not kept.
            StorageError: It could not be written.
        """
        verify(signed, origin=signed.checkpoint.origin, coordinator=self._coordinator)
        write_atomic(self._folder / f"refused-{signed.checkpoint.size}.note", signed.encode())

    def _add(self, line: bytes) -> None:
        keys = {key.fingerprint: key for key in (self._coordinator, *self._cosigners.values())}
        entry = read_next(line, keys, self._last, where="the log")
        if self._last is None:
            self._origin = self._name_in(entry)
        self._last = entry
        self._tree.append(line)

    def _name_in(self, first: LogEntry) -> str:
        match first.kind, dict(first.data):
            case "protocol", {"name": str(name), "digest": digest, "run": run} if name == self.study:
                if is_digest(digest) and is_run(run):
                    return origin(name, str(digest), str(run))
        raise TrustError(
            f"expected a log that begins with the protocol of {self.study!r:.80}, found another one"
        )

    def _check(self, signed: SignedCheckpoint) -> None:
        checkpoint = signed.checkpoint
        if self._last is None:
            raise TrustError("expected the lines of the log before their checkpoint, found none")
        self.cosigned(signed)
        if checkpoint.size > self.size:
            raise TrustError(
                f"expected a checkpoint of at most {self.size} lines, found one of {checkpoint.size}",
                advice="the log service withholds lines that its coordinator signed: ask the coordinator",
            )
        if self._tree.root(checkpoint.size) != checkpoint.root:
            self.set_aside(signed)
            raise TrustError(
                f"the coordinator signed two different logs of {checkpoint.size} lines: these lines have another root",
                advice=_KEEP,
            )

    def _keep(self, signed: SignedCheckpoint) -> None:
        kept = self._tree.size - len(self._waiting)
        count = signed.checkpoint.size - kept
        if count > 0:
            append_line(self._folder / LOG, b"\n".join(self._waiting[:count]), mode=0o644)
            self._waiting = self._waiting[count:]
        write_atomic(self._folder / NOTE, signed.encode())
        self.remembered = signed

    def _open(self) -> None:
        path = self._folder / LOG
        lines, torn = split(read_bytes(path) or b"")
        if torn:
            cut(path, sum(len(line) + 1 for line in lines))
        for line in lines:
            self._add(line)
        note = read_bytes(self._folder / NOTE)
        if note is None:
            return
        signed = parse(note, where=str(self._folder / NOTE))
        if signed.checkpoint.size > self.size:
            raise TrustError(
                f"expected at least {signed.checkpoint.size} lines in {path}, found {self.size}", advice=_KEEP
            )
        self._check(signed)
        self.remembered = signed
