"""The coordinator's side of cosigning: which checkpoint each site is shown, and what came back.

What arrived is written to `checkpoints.jsonl` (see `checkpointfile`), and with it the newest checkpoint, which nobody
can have cosigned yet: so that whoever follows the log knows how far it is.

Nothing here is needed to go on after a crash: each site says at the roll call what it cosigned last. A torn last line
is one that nobody was told of.
"""

from collections.abc import Mapping
from pathlib import Path

from wardround.common.durable import append_line, cut
from wardround.common.errors import TrustError
from wardround.common.trust import witness
from wardround.common.trust.checkpoint import (
    Checkpoint,
    NoteSignature,
    SignedCheckpoint,
    sign,
    verify_cosignature,
)
from wardround.common.trust.checkpointfile import HEAD, checkpoint_line
from wardround.common.trust.identity import PublicKey, SigningKey
from wardround.common.trust.ledgerfile import read_bytes, split
from wardround.common.trust.merkle import Tree


class Witnesses:
    """The sites of one study as witnesses of its log.

    Args:
        path: `checkpoints.jsonl`; its folder must exist.
        key: The coordinator's.
        origin: Of the log.
        tree: Over the lines of the log that are durable; it grows as they do.
        sites: Name -> public key.

    Attributes:
        unsure: Sites that were shown a checkpoint and did not say since what they cosigned last.
    """

    def __init__(
        self, path: Path, *, key: SigningKey, origin: str, tree: Tree, sites: Mapping[str, PublicKey]
    ) -> None:
        self._path = path
        self._key = key
        self._origin = origin
        self._tree = tree
        self._sites = sites
        self._known: dict[str, int] = {}  # site -> size that it cosigned last
        self.unsure: set[str] = set()
        self._signed: dict[int, SignedCheckpoint] = {}
        self._new: dict[int, list[NoteSignature]] = {}
        self._proofs: dict[tuple[int, int], str] = {}
        whole, torn = split(read_bytes(path) or b"")
        if torn:
            cut(path, sum(len(line) + 1 for line in whole))

    def show(self, site: str) -> str:
        """What goes into the envelope of a task to a site; nothing while there is no line to cosign."""
        size, known = self._tree.size, self._known.get(site, 0)
        if not size:
            return ""
        self.unsure.add(site)
        at = known, size
        if at not in self._proofs:
            if size not in self._signed:
                self._proofs.clear()
            proof = self._tree.consistency(known) if known <= size else ()
            self._proofs[at] = witness.show(known, proof, self._checkpoint(size))
        return self._proofs[at]

    def hear(self, site: str, text: str) -> None:
        """Take what a site's signed answer says about the log; what is not acceptable is as if it had said nothing."""
        try:
            size, line = witness.read_answer(text)
            if line is not None and 0 < size <= self._tree.size:
                verify_cosignature(line, self._checkpoint(size).checkpoint, self._sites[site])
                self._new.setdefault(size, []).append(line)
            self._known[site] = size
            self.unsure.discard(site)
        except TrustError:
            return

    def keep(self) -> None:
        """Write down the cosignatures that arrived since the last call, and the newest checkpoint.

        Raises:
            StorageError: They could not be written.
        """
        newest = self._checkpoint(self._tree.size)
        notes = [self._checkpoint(size).with_signatures(lines) for size, lines in sorted(self._new.items())]
        head = [] if self._path.exists() and self._path.stat().st_size else [HEAD]
        lines = [*head, *map(checkpoint_line, [*notes, newest])]
        append_line(self._path, b"\n".join(lines), mode=0o644)
        self._new.clear()
        self._signed = {newest.checkpoint.size: newest}

    def _checkpoint(self, size: int) -> SignedCheckpoint:
        if size not in self._signed:
            root = self._tree.root(size)
            self._signed[size] = sign(self._key, Checkpoint(origin=self._origin, size=size, root=root))
        return self._signed[size]
