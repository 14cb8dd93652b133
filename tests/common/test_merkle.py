"""The Merkle tree: the published vectors of Certificate Transparency, the recursive definition, and hostile proofs."""

import hashlib

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from wardround.common.errors import TrustError, UsageError
from wardround.common.trust.merkle import EMPTY_ROOT, Tree, leaf_hash, verify_consistency, verify_inclusion

# The leaves, roots and proofs of certificate-transparency's own tests (merkle_tree_test.cc; now
# transparency-dev/merkle, testonly/constants.go).
LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    bytes.fromhex(text)
    for text in (
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    )
]
L0 = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
N1 = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"
N23 = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e"
N4567 = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"
N4 = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"
N45 = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a"
N67 = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0"
INCLUSION = {  # (number, size)
    (0, 1): [],
    (0, 8): [N1, N23, N4567],
    (5, 8): [N4, N67, ROOTS[4].hex()],
    (2, 3): [ROOTS[2].hex()],
    (1, 5): [L0, N23, N4],
}
CONSISTENCY = {  # (old, size)
    (1, 1): [],
    (1, 8): [N1, N23, N4567],
    (6, 8): [N45, N67, ROOTS[4].hex()],
    (2, 5): [N23, N4],
}


def unhex(proof: list[str]) -> tuple[bytes, ...]:
    return tuple(bytes.fromhex(one) for one in proof)


def mth(lines: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, word for word: independent of the tree under test."""
    if not lines:
        return hashlib.sha256(b"").digest()
    if len(lines) == 1:
        return hashlib.sha256(b"\x00" + lines[0]).digest()
    k = 1
    while 2 * k < len(lines):
        k *= 2
    return hashlib.sha256(b"\x01" + mth(lines[:k]) + mth(lines[k:])).digest()


def test_the_published_roots_are_reproduced() -> None:
    tree = Tree()
    assert tree.root() == EMPTY_ROOT == ROOTS[0]
    for line, root in zip(LEAVES, ROOTS[1:], strict=True):
        tree.append(line)
        assert tree.root() == root
    assert [tree.root(size) for size in range(9)] == ROOTS


@pytest.mark.parametrize(("number", "size"), INCLUSION)
def test_the_published_inclusion_proofs_are_made_and_accepted(number: int, size: int) -> None:
    proof = unhex(INCLUSION[number, size])
    assert Tree(LEAVES).inclusion(number, size) == proof
    verify_inclusion(LEAVES[number], number, ROOTS[size], size, proof)


@pytest.mark.parametrize(("old", "size"), CONSISTENCY)
def test_the_published_consistency_proofs_are_made_and_accepted(old: int, size: int) -> None:
    proof = unhex(CONSISTENCY[old, size])
    assert Tree(LEAVES).consistency(old, size) == proof
    verify_consistency(old, ROOTS[old], size, ROOTS[size], proof)


def test_every_root_and_proof_of_up_to_40_lines_agrees_with_the_definition() -> None:
    lines = [b"line %d" % number for number in range(40)]
    tree = Tree(lines)
    for size in range(41):
        assert tree.root(size) == mth(lines[:size])
        for number in range(size):
            verify_inclusion(lines[number], number, mth(lines[:size]), size, tree.inclusion(number, size))
        for old in range(size + 1):
            verify_consistency(old, mth(lines[:old]), size, mth(lines[:size]), tree.consistency(old, size))


def test_a_node_never_passes_for_a_line() -> None:
    """Without the first byte, the two children of the root would be a 'line' with its root: RFC 6962, section 2.1."""
    two = Tree([b"a", b"b"])
    forged = leaf_hash(b"a") + leaf_hash(b"b")
    assert Tree([forged]).root() != two.root()
    with pytest.raises(TrustError, match="line 1 of 1 is not the one under this root"):
        verify_inclusion(forged, 0, two.root(), 1, ())


@given(st.lists(st.binary(max_size=8), min_size=1, max_size=70), st.data())
def test_no_other_line_place_or_proof_is_accepted(lines: list[bytes], data: st.DataObject) -> None:
    tree = Tree(lines)
    size = data.draw(st.integers(1, len(lines)))
    number = data.draw(st.integers(0, size - 1))
    proof, root = tree.inclusion(number, size), tree.root(size)
    verify_inclusion(lines[number], number, root, size, proof)
    place = data.draw(st.integers(0, size - 1))
    assume(lines[place] != lines[number] or place == number)
    with pytest.raises(TrustError):
        verify_inclusion(lines[number] + b"!", number, root, size, proof)
    if place != number:
        with pytest.raises(TrustError):
            verify_inclusion(lines[number], place, root, size, proof)
    with pytest.raises(TrustError):
        verify_inclusion(lines[number], number, root, size, (*proof, root))
    if proof:
        with pytest.raises(TrustError):
            verify_inclusion(lines[number], number, root, size, proof[:-1])
        at = data.draw(st.integers(0, len(proof) - 1))
        wrong = bytes([proof[at][0] ^ 1]) + proof[at][1:]
        with pytest.raises(TrustError):
            verify_inclusion(lines[number], number, root, size, (*proof[:at], wrong, *proof[at + 1 :]))


@given(st.lists(st.binary(max_size=8), min_size=2, max_size=70), st.data())
def test_a_log_with_a_changed_past_has_no_consistency_proof(lines: list[bytes], data: st.DataObject) -> None:
    size = data.draw(st.integers(2, len(lines)))
    old = data.draw(st.integers(1, size - 1))
    changed = data.draw(st.integers(0, old - 1))
    honest = Tree(lines)
    forged = Tree([*lines[:changed], lines[changed] + b"!", *lines[changed + 1 :]])
    verify_consistency(old, honest.root(old), size, honest.root(size), honest.consistency(old, size))
    for proof in (honest.consistency(old, size), forged.consistency(old, size)):
        with pytest.raises(TrustError):
            verify_consistency(old, honest.root(old), size, forged.root(size), proof)
    good = honest.consistency(old, size)
    for proof in (good[:-1], (*good, good[-1]), ()):
        with pytest.raises(TrustError):
            verify_consistency(old, honest.root(old), size, honest.root(size), proof)


def test_a_shorter_log_is_a_rollback() -> None:
    tree = Tree(LEAVES)
    with pytest.raises(TrustError, match="expected a log of at least 8 lines, found 6: it was rolled back"):
        verify_consistency(8, tree.root(), 6, tree.root(6), ())


def test_two_logs_of_one_size_are_told_apart() -> None:
    one, two = Tree([b"a"]), Tree([b"b"])
    with pytest.raises(TrustError, match="two different logs have 1 lines"):
        verify_consistency(1, one.root(), 1, two.root(), ())
    with pytest.raises(TrustError, match="two different logs have 0 lines"):
        verify_consistency(0, one.root(), 1, one.root(), ())


def test_of_no_lines_everything_is_a_continuation() -> None:
    verify_consistency(0, EMPTY_ROOT, 0, EMPTY_ROOT, ())
    verify_consistency(0, EMPTY_ROOT, 8, ROOTS[8], Tree(LEAVES).consistency(0))
    with pytest.raises(TrustError):
        verify_consistency(0, EMPTY_ROOT, 8, ROOTS[8], (EMPTY_ROOT,))
    with pytest.raises(TrustError):
        verify_consistency(0, EMPTY_ROOT, 0, ROOTS[1], ())


@pytest.mark.parametrize("proof", [(b"short",), (b"x" * 33,), ("x" * 32,), (None,)])
def test_a_proof_that_is_not_made_of_hashes_is_refused(proof: tuple[bytes, ...]) -> None:
    with pytest.raises(TrustError, match="expected hashes of 32 bytes"):
        verify_inclusion(LEAVES[0], 0, ROOTS[2], 2, proof)
    with pytest.raises(TrustError, match="expected hashes of 32 bytes"):
        verify_consistency(1, ROOTS[1], 2, ROOTS[2], proof)


@pytest.mark.parametrize(("number", "size"), [(1, 1), (-1, 1), (True, 2), (0, 0), (0.0, 1), (10**30, 10)])
def test_a_number_that_is_no_place_is_refused(number: int, size: int) -> None:
    with pytest.raises(TrustError, match="expected a line number below the size"):
        verify_inclusion(LEAVES[0], number, ROOTS[1], size, ())


@pytest.mark.parametrize(("old", "size"), [(-1, 1), (1, -1), (True, 1), (1.0, 2)])
def test_a_size_that_is_none_is_refused(old: int, size: int) -> None:
    with pytest.raises(TrustError, match="expected two sizes"):
        verify_consistency(old, ROOTS[1], size, ROOTS[1], ())


def test_more_lines_than_there_are_cannot_be_asked_for() -> None:
    tree = Tree(LEAVES)
    for ask in (tree.root, lambda size: tree.inclusion(0, size), lambda size: tree.consistency(0, size)):
        with pytest.raises(UsageError):
            ask(9)
    with pytest.raises(UsageError):
        tree.inclusion(8)
    with pytest.raises(UsageError):
        tree.consistency(9)


def test_ten_thousand_lines_take_14_hashes_to_prove() -> None:
    tree = Tree(b"%d" % number for number in range(10_000))
    assert max(len(tree.inclusion(number)) for number in (0, 5000, 8191)) == 14
    assert len(tree.consistency(9_999)) <= 14
