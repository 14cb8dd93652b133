"""The Merkle tree over the lines of a log: one hash for all of them, and short proofs about it.

A leaf is SHA-256 of a zero byte and the line without its newline; a node is SHA-256 of a one byte and its two children.
The different first bytes keep a node from passing for a line. An inclusion proof shows that a line stands at its place
under a root; a consistency proof shows that one root's lines are the first lines under another: nothing was changed,
removed or reordered in between.

    >>> tree = Tree([b"first", b"second", b"third"])
    >>> verify_inclusion(b"second", 1, tree.root(), 3, tree.inclusion(1))
    >>> verify_consistency(2, tree.root(2), 3, tree.root(), tree.consistency(2))

Assumes that nobody finds two messages of one SHA-256.

Source: RFC 6962, section 2.1 (tree and proofs); RFC 9162, sections 2.1.3.2 and 2.1.4.2 (their verification).
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

from wardround.common.checks import in_range
from wardround.common.errors import TrustError

EMPTY_ROOT: Final = hashlib.sha256(b"").digest()
HASH_SIZE: Final = 32  # bytes

_ADVICE: Final = (
    "the log shown here is not the one that was signed: keep both, and compare with another party's copy"
)


def leaf_hash(line: bytes) -> bytes:
    """The 32-byte hash of one line, given without its newline."""
    return hashlib.sha256(b"\x00" + line).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The 32-byte hash of a node with these two children."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Tree:
    """A tree that only grows. It keeps every complete node: 64 bytes per line, and an append is O(1) on average.

    Args:
        lines: The first lines, without their newlines.
    """

    __slots__ = ("_levels",)

    def __init__(self, lines: Iterable[bytes] = ()) -> None:
        self._levels: list[list[bytes]] = [[]]  # level k, number i: the lines from i * 2**k to (i + 1) * 2**k
        for line in lines:
            self.append(line)

    @property
    def size(self) -> int:
        """Number of lines."""
        return len(self._levels[0])

    def append(self, line: bytes) -> None:
        """Add a line, given without its newline."""
        self.append_hash(leaf_hash(line))

    def append_hash(self, leaf: bytes) -> None:
        """Add a line by its `leaf_hash`."""
        node = leaf
        for level in self._levels:
            level.append(node)
            if len(level) % 2:
                return
            node = node_hash(level[-2], level[-1])
        self._levels.append([node])

    def leaf(self, number: int) -> bytes:
        """The `leaf_hash` of a line that is there, by its number from 0."""
        return self._levels[0][number]

    def root(self, size: int | None = None) -> bytes:
        """The 32-byte root of the first `size` lines; of all by default.

        Raises:
            UsageError: There are fewer lines.
        """
        size = self._size(size)
        return self._range(0, size) if size else EMPTY_ROOT

    def inclusion(self, number: int, size: int | None = None) -> tuple[bytes, ...]:
        """The proof that line `number`, from 0, is among the first `size`: hashes from the leaf upwards.

        Raises:
            UsageError: There is no such line.
        """
        size = self._size(size)
        in_range(0, size - 1, number=number)
        proof: list[bytes] = []
        low, high = 0, size
        while high - low > 1:
            middle = low + _left(high - low)
            if number < middle:
                proof.append(self._range(middle, high))
                high = middle
            else:
                proof.append(self._range(low, middle))
                low = middle
        return tuple(reversed(proof))

    def consistency(self, old: int, size: int | None = None) -> tuple[bytes, ...]:
        """The proof that the first `old` lines are the first of the first `size`; empty for `old` 0 or `size`.

        Raises:
            UsageError: There are fewer lines, or `old` is above `size`.
        """
        size = self._size(size)
        in_range(0, size, old=old)
        proof: list[bytes] = []
        low, high, whole = 0, size, True
        while old and high != old:
            middle = low + _left(high - low)
            if old <= middle:
                proof.append(self._range(middle, high))
                high = middle
            else:
                proof.append(self._range(low, middle))
                low, whole = middle, False
        if not whole:
            proof.append(self._range(low, high))
        return tuple(reversed(proof))

    def _size(self, size: int | None) -> int:
        if size is None:
            return self.size
        in_range(0, self.size, size=size)
        return size

    def _range(self, low: int, high: int) -> bytes:
        """The hash of lines `low` to `high`; `low` is a multiple of the power of two at or above their number."""
        level = (high - low - 1).bit_length()
        if high - low == 1 << level:
            return self._levels[level][low >> level]
        middle = low + _left(high - low)
        return node_hash(self._range(low, middle), self._range(middle, high))


def verify_inclusion(line: bytes, number: int, root: bytes, size: int, proof: Sequence[bytes]) -> None:
    """Check that a line stands at a place under a root.

    Args:
        line: Without its newline.
        number: Its place, from 0.
        root: The 32-byte root of `size` lines, from a checkpoint that was verified.
        size: Number of lines.
        proof: As `Tree.inclusion` gives it.

    Guarantees:
        Returns only if `root` was made with this line at this place, or SHA-256 is broken.

    Raises:
        TrustError: It is not shown, or the proof is malformed.
    """
    _check_hashes((root, *proof))
    if not (_whole(number) and _whole(size) and number < size):
        raise TrustError(f"expected a line number below the size, found {number!r:.40} of {size!r:.40}")
    node, at, last = leaf_hash(line), number, size - 1
    for sibling in proof:
        if last == 0:
            raise _refused(f"the proof for line {number + 1} of {size} is too long")
        if at & 1 or at == last:
            node = node_hash(sibling, node)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            node = node_hash(node, sibling)
        at, last = at >> 1, last >> 1
    if last or node != root:
        raise _refused(f"line {number + 1} of {size} is not the one under this root")


def verify_consistency(old: int, old_root: bytes, size: int, root: bytes, proof: Sequence[bytes]) -> None:
    """Check that a log only grew.

    Args:
        old: Number of lines then.
        old_root: Their 32-byte root, as it was remembered.
        size: Number of lines now, at least `old`.
        root: Their root.
        proof: As `Tree.consistency` gives it.

    Guarantees:
        Returns only if the lines under `old_root` are the first ones under `root`, or SHA-256 is broken. Of no lines
        everything is a continuation, and their root is checked.

    Raises:
        TrustError: It is not shown, the log became shorter, or the proof is malformed.
    """
    _check_hashes((old_root, root, *proof))
    if not (_whole(old) and _whole(size)):
        raise TrustError(f"expected two sizes >= 0, found {old!r:.40} and {size!r:.40}")
    if old > size:
        raise _refused(f"expected a log of at least {old} lines, found {size}: it was rolled back")
    if old in (0, size):
        wanted = root if old else EMPTY_ROOT
        if proof or old_root != wanted or (size == 0 and root != EMPTY_ROOT):
            raise _refused(f"two different logs have {old} lines")
        return
    _climb(old, old_root, size, root, proof)


def _climb(old: int, old_root: bytes, size: int, root: bytes, proof: Sequence[bytes]) -> None:
    """RFC 9162, section 2.1.4.2, steps 2 to 7."""
    path = list(proof) if old & (old - 1) else [old_root, *proof]
    at, last = old - 1, size - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    if not path:
        raise _refused(f"the proof that {size} lines continue {old} is too short")
    before = after = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise _refused(f"the proof that {size} lines continue {old} is too long")
        if at & 1 or at == last:
            before, after = node_hash(sibling, before), node_hash(sibling, after)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            after = node_hash(after, sibling)
        at, last = at >> 1, last >> 1
    if last or before != old_root or after != root:
        raise _refused(
            f"a log of {size} lines does not continue the one of {old} lines that was signed before"
        )


def _left(count: int) -> int:
    """The largest power of two below `count`, which is at least 2."""
    return 1 << ((count - 1).bit_length() - 1)


def _whole(value: object) -> bool:
    return type(value) is int and value >= 0


def _check_hashes(hashes: Sequence[object]) -> None:
    if any(type(one) is not bytes or len(one) != HASH_SIZE for one in hashes):
        raise TrustError(f"expected hashes of {HASH_SIZE} bytes in a proof, found something else")


def _refused(message: str) -> TrustError:
    return TrustError(message, advice=_ADVICE)
