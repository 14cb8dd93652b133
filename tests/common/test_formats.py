"""Canonical bytes, digests and format headers."""

import hashlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround.common.errors import StorageError
from wardround.common.formats import canonical, check_header, digest, header

WHOLE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=10,
)


def test_canonical_bytes_are_sorted_without_spaces_in_utf_8() -> None:
    assert canonical({"z": [1, True, None], "a": "é"}) == b'{"a":"\xc3\xa9","z":[1,true,null]}'


@given(st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=3), WHOLE))
def test_the_order_of_keys_does_not_matter(value: dict[str, object]) -> None:
    assert canonical(dict(reversed(value.items()))) == canonical(value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_have_no_canonical_bytes(value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical({"x": value})


def test_the_digest_is_sha_256() -> None:
    assert digest(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert digest(b"") == hashlib.sha256().hexdigest()


def test_the_same_and_an_older_version_are_read() -> None:
    for version in (1, 2):
        check_header(header("wardround-thing", version), name="wardround-thing", version=2, where="here")


def test_a_newer_version_is_refused_with_advice() -> None:
    with pytest.raises(StorageError, match="version 3; this release reads up to version 2") as caught:
        check_header(header("wardround-thing", 3), name="wardround-thing", version=2, where="here")
    assert "newer wardround" in caught.value.advice


@pytest.mark.parametrize("version", [True, "1", 1.0, 0, -1, None])
def test_a_version_that_is_no_whole_number_from_one_is_refused(version: object) -> None:
    with pytest.raises(StorageError, match="whole version number"):
        check_header({"format": "f", "version": version}, name="f", version=1, where="here")


@pytest.mark.parametrize("found", [{}, {"format": "other", "version": 1}, {"format": 1, "version": 1}])
def test_a_file_of_another_kind_is_refused(found: dict[str, object]) -> None:
    with pytest.raises(StorageError, match="expected a wardround-thing file in here"):
        check_header(found, name="wardround-thing", version=1, where="here")
