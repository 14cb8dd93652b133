"""Key agreement: both sides find one key, bound to everything they were shown; the weaker suite is never silent."""

import hashlib
import hmac
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround.common.errors import TrustError, UsageError
from wardround.common.formats import canonical, digest
from wardround.common.trust.agreement import (
    CLASSIC,
    HYBRID,
    SUITES,
    EphemeralKeys,
    check_suites,
    choose_suite,
    encapsulate,
    installed_suites,
    pair_key,
)

BOUND = {"secrets": bytes(range(64)), "transcript": digest(b"t"), "suite": HYBRID, "sites": ("a", "b")}


def key_of(**change: object) -> bytes:
    return pair_key(**(BOUND | change))  # type: ignore[arg-type]


def test_a_pair_key_is_hkdf_of_secret_transcript_suite_and_names() -> None:
    info = canonical({"format": "secsum/v1", "part": "pair", "sites": ["a", "b"], "suite": HYBRID})
    extracted = hmac.new(bytes.fromhex(digest(b"t")), bytes(range(64)), hashlib.sha256).digest()
    assert key_of() == hmac.new(extracted, info + b"\x01", hashlib.sha256).digest()


def test_both_sides_of_a_pair_derive_one_key_whoever_is_named_first() -> None:
    assert key_of(sites=("b", "a")) == key_of()


@pytest.mark.parametrize(
    "change",
    [
        {"secrets": bytes(64)},
        {"secrets": bytes(range(32))},
        {"transcript": digest(b"other")},
        {"suite": CLASSIC},
        {"sites": ("a", "c")},
    ],
    ids=lambda change: next(iter(change)),
)
def test_whatever_is_bound_changes_the_key(change: dict[str, object]) -> None:
    assert key_of(**change) != key_of()


def test_both_sides_find_the_same_secrets() -> None:
    east, west = EphemeralKeys.draw(SUITES), EphemeralKeys.draw(SUITES)
    assert east.exchange(west.public) == west.exchange(east.public)
    secret, ciphertext = encapsulate("west", west.public.mlkem)
    assert west.decapsulate(ciphertext) == secret
    assert east.decapsulate(ciphertext) != secret
    assert {len(secret), len(east.exchange(west.public))} == {32}


def test_keys_are_made_of_the_random_bytes_that_are_given() -> None:
    sizes: list[int] = []

    def random(size: int) -> bytes:
        sizes.append(size)
        return bytes([len(sizes)]) * size

    keys = EphemeralKeys.draw(SUITES, random)
    assert sizes == [32, 64]
    assert (keys.x25519, keys.mlkem) == (b"\1" * 32, b"\2" * 64)
    assert EphemeralKeys.draw([CLASSIC]).public.mlkem == b""


@given(
    st.dictionaries(st.text(max_size=3), st.sets(st.sampled_from(SUITES), min_size=1), min_size=1, max_size=5)
)
def test_the_strongest_suite_of_all_is_chosen_or_none(offers: dict[str, set[str]]) -> None:
    shared = set.intersection(*offers.values())
    if shared:
        assert choose_suite(offers) == (HYBRID if HYBRID in shared else CLASSIC)
    else:
        with pytest.raises(TrustError, match="share no suite"):
            choose_suite(offers)


@pytest.mark.parametrize(("suites", "why"), [([], "at least one"), (["rot13"], "'rot13'"), ("x", "'x'")])
def test_a_site_cannot_offer_nothing_or_the_unknown(suites: list[str], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        check_suites(suites)


def test_offers_are_put_in_order() -> None:
    assert check_suites([CLASSIC, HYBRID]) == SUITES == installed_suites()


def test_without_ml_kem_the_classic_suite_is_offered_and_the_hybrid_is_refused() -> None:
    # Another process, in which `cryptography` has no ML-KEM, as before its version 47.
    program = """
import sys
sys.modules["cryptography.hazmat.primitives.asymmetric.mlkem"] = None
from wardround.common.errors import UsageError
from wardround.common.trust.agreement import HYBRID, EphemeralKeys, check_suites, installed_suites
assert installed_suites() == ("x25519",), installed_suites()
EphemeralKeys.draw(installed_suites()).public.check(installed_suites())
try:
    check_suites([HYBRID])
except UsageError as error:
    print(error, error.advice)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "cannot do x25519+ml-kem-768" in done.stdout
    assert "install a `cryptography`" in done.stdout
