"""The source of noise: its distribution, its independence, and when it refuses to answer."""

import copy
import os
import pickle
from collections.abc import Callable
from unittest import mock

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from scipy import stats

from wardround.common.errors import PrivacyError, UsageError
from wardround.common.privacy.randomness import SecureRandom

MANY = 1_000_000


def in_a_child(work: Callable[[], bytes]) -> bytes:
    """What a forked child answers; the child does nothing else of the parent's."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(writer, work())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        found = answer.read()
    os.waitpid(child, 0)
    return found


def test_normals_pass_kolmogorov_smirnov_against_the_normal_distribution() -> None:
    # A fresh key each time: a p-value below 1e-9 has that probability under the right law.
    assert stats.kstest(SecureRandom().gaussian(MANY), "norm").pvalue > 1e-9


def test_the_squares_of_neighbouring_normals_are_chi_squared_with_two_degrees() -> None:
    normals = SecureRandom().gaussian(MANY)
    pairs = normals[::2] ** 2 + normals[1::2] ** 2
    assert stats.kstest(pairs, "chi2", args=(2,)).pvalue > 1e-9


def test_normals_reach_into_the_tails_as_often_as_they_should() -> None:
    normals = np.abs(SecureRandom().gaussian(4 * MANY))
    for bound in (3.0, 4.0):
        expected = 4 * MANY * 2 * stats.norm.sf(bound)
        assert abs(np.sum(normals > bound) - expected) < 6 * np.sqrt(expected) + 6


def test_normals_are_uncorrelated_with_each_other_at_every_small_lag() -> None:
    normals = SecureRandom().gaussian(MANY)
    for lag in (1, 2, 16384, 25736):
        assert abs(np.mean(normals[lag:] * normals[:-lag])) < 6 / np.sqrt(MANY - lag)


def test_the_words_become_normals_by_the_polar_method_exactly() -> None:
    with mock.patch.object(os, "urandom", lambda n: bytes(range(n))):
        found = SecureRandom().gaussian(2)
    stream = Cipher(algorithms.AES(bytes(range(32))), modes.CTR(bytes(16))).encryptor().update(bytes(160))
    words = np.frombuffer(stream, np.int64).reshape(2, -1) / 2.0**63
    inside = [(u, v) for u, v in words.T if 0 < u * u + v * v < 1]
    expected = [
        u * np.sqrt(-2 * np.log(u * u + v * v) / (u * u + v * v)) for u, v in inside[:2]
    ]  # the first coordinates come first
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 1000, 16384, 40001])
def test_as_many_normals_come_as_were_asked_for(n: int) -> None:
    normals = SecureRandom().gaussian(n)
    assert normals.shape == (n,)
    assert normals.dtype == np.float64
    assert np.isfinite(normals).all()


def test_one_object_never_repeats_itself() -> None:
    random = SecureRandom()
    assert random.bytes(32) != random.bytes(32)
    assert not set(random.gaussian(1000)) & set(random.gaussian(1000))


def test_bytes_are_the_keystream_across_chunks() -> None:
    with mock.patch.object(os, "urandom", lambda n: bytes(n)):
        found = SecureRandom().bytes((1 << 20) + 5)
    stream = Cipher(algorithms.AES(bytes(32)), modes.CTR(bytes(16))).encryptor()
    assert found == stream.update(bytes((1 << 20) + 5))


@pytest.mark.parametrize("q", [0.0, 1e-9, 0.25, 0.5, 0.9, 1.0])
def test_choices_come_at_their_rate(q: float) -> None:
    chosen = SecureRandom().bernoulli(MANY, q)
    assert chosen.dtype == np.bool_
    assert abs(chosen.sum() - MANY * q) <= 6 * np.sqrt(MANY * q * (1 - q)) + (q == 1e-9)


def test_choices_of_rate_one_take_everybody_and_of_rate_zero_nobody() -> None:
    assert SecureRandom().bernoulli(MANY, 1.0).all()
    assert not SecureRandom().bernoulli(MANY, 0.0).any()


@pytest.mark.parametrize("q", [-0.1, 1.1, float("nan")])
def test_a_rate_that_is_no_probability_is_refused(q: float) -> None:
    with pytest.raises(UsageError, match="q"):
        SecureRandom().bernoulli(3, q)


def test_two_objects_give_different_noise() -> None:
    assert not set(SecureRandom().gaussian(1000)) & set(SecureRandom().gaussian(1000))


def test_two_forked_children_give_different_noise() -> None:
    first, second = (in_a_child(lambda: SecureRandom().gaussian(100).tobytes()) for _ in range(2))
    assert len(first) == len(second) == 800
    assert not set(np.frombuffer(first)) & set(np.frombuffer(second))


def test_a_forked_child_cannot_use_its_parents_source() -> None:
    random = SecureRandom()

    def attempt() -> bytes:
        try:
            return random.bytes(16)
        except PrivacyError:
            return b"refused"

    assert in_a_child(attempt) == b"refused"
    assert len(random.bytes(16)) == 16


def test_a_closed_source_is_refused_and_may_be_closed_again() -> None:
    with SecureRandom() as random:
        random.gaussian(1)
    random.close()
    with pytest.raises(PrivacyError, match="closed"):
        random.gaussian(1)
    with pytest.raises(PrivacyError, match="closed"):
        random.bernoulli(1, 0.5)


def test_a_source_cannot_be_copied_or_sent() -> None:
    for duplicate in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(PrivacyError, match="copied"):
            duplicate(SecureRandom())


def test_there_is_no_seed() -> None:
    with pytest.raises(TypeError):
        SecureRandom(42)  # type: ignore[call-arg]
