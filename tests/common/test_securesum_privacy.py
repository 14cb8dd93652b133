"""What somebody sees who is not meant to see: uniform numbers, and the sum of the honest sites, nothing else.

Chance decides these tests, since keys are drawn anew: each limit is passed with a probability below 10^-7.
"""

import json
from itertools import combinations

import numpy as np
import pytest
from scipy import stats
from tests.sums import Vector, agree, confirmed, consortium, names, some_values

from wardround.common.trust.agreement import CLASSIC, HYBRID
from wardround.common.trust.masking import add_masks, ring_sum
from wardround.common.trust.sumstate import SumState

LENGTH = 1 << 16
LIMIT = 1e-8
SUITES = pytest.mark.parametrize("suite", [HYBRID, CLASSIC])


def uniform(values: Vector) -> bool:
    """Whether bytes look uniform: all 256 values of each of the four bytes, and neighbouring words unrelated."""
    columns = values.astype("<u4").view(np.uint8).reshape(-1, 4)
    even = all(stats.chisquare(np.bincount(columns[:, i], minlength=256)).pvalue > LIMIT for i in range(4))
    return even and unrelated(values[:-1], values[1:])


def unrelated(first: Vector, second: Vector) -> bool:
    """Whether two vectors are uncorrelated as numbers, and no more words agree than by chance."""
    correlation = stats.pearsonr(first.astype(float), second.astype(float)).pvalue
    return bool(correlation > LIMIT and np.count_nonzero(first == second) <= 4)


def test_the_yardstick_sees_what_is_not_uniform() -> None:
    ramp = np.arange(LENGTH, dtype=np.uint32)
    assert not uniform(ramp)
    assert not uniform(np.repeat(some_values(1, LENGTH // 2)[0], 2))
    assert not unrelated(ramp, ramp * 3)
    assert uniform(some_values(1, LENGTH)[0])


@SUITES
def test_what_leaves_a_site_is_uniform_whatever_its_values_are(suite: str) -> None:
    vectors = [np.zeros(LENGTH, np.uint32), np.arange(LENGTH, dtype=np.uint32), np.full(LENGTH, 7, np.uint32)]
    masked = [s.mask(v) for s, v in zip(confirmed(3, suites=[suite]).values(), vectors, strict=True)]
    for vector, sent in zip(vectors, masked, strict=True):
        assert uniform(sent)
        assert np.count_nonzero(vector == sent) <= 4
    assert unrelated(masked[1], vectors[1])
    for first, second in combinations(masked, 2):
        assert unrelated(first, second)


def test_neighbouring_cohorts_give_uploads_of_one_length_and_unrelated_bytes() -> None:
    # Two cohorts that differ in one patient, whose clipped gradient moves a few coordinates a little.
    cohort = some_values(1, LENGTH)[0] >> np.uint32(12)
    neighbour = cohort.copy()
    neighbour[:10] += 1
    uploads = [confirmed(3)["site-00"].upload(vector, receipt=b"r") for vector in (cohort, neighbour)]
    assert len(uploads[0]) == len(uploads[1])
    first, second = (np.frombuffer(upload[-4 * LENGTH :], "<u4") for upload in uploads)
    assert uniform(first - second)
    assert unrelated(first, second)


@SUITES
@pytest.mark.parametrize("sites", [3, 5, 8])
def test_the_server_with_all_but_two_sites_learns_the_sum_of_the_two_and_nothing_else(
    sites: int, suite: str
) -> None:
    everybody = consortium(sites)
    sessions = everybody.sessions(suites=[suite])
    agreements = agree(sessions)
    for session in sessions.values():
        session.confirm(agreements)
    victims, colluding = names(sites)[1:3], [names(sites)[0], *names(sites)[3:]]
    # What the colluding sites hold before they use it: every private key, every secret.
    known = {
        name: SumState.from_bytes(sessions[name].to_bytes()).pair_keys(sessions[name].transcript)
        for name in colluding
    }
    values = [np.zeros(LENGTH, np.uint32), np.arange(LENGTH, dtype=np.uint32)]
    sent = [sessions[name].mask(vector) for name, vector in zip(victims, values, strict=True)]
    peeled = [
        # A smaller name added its stream and the victim took it away; a greater one the reverse.
        add_masks(
            upload,
            plus=[known[peer][victim] for peer in colluding if peer < victim],
            minus=[known[peer][victim] for peer in colluding if peer > victim],
        )
        for victim, upload in zip(victims, sent, strict=True)
    ]
    assert ring_sum(peeled).tolist() == ring_sum(values).tolist()
    for vector, rest in zip(values, peeled, strict=True):
        assert uniform(rest)
        assert np.count_nonzero(vector == rest) <= 4
    assert unrelated(peeled[1], values[1])


def test_the_server_with_all_but_one_site_learns_that_sites_vector() -> None:
    # Not a fault: the sum minus what one knows. It shows that the attack above removes all masks it can.
    sessions = confirmed(3)
    first = sessions["site-00"]
    known = {
        name: SumState.from_bytes(sessions[name].to_bytes()).pair_keys(sessions[name].transcript)
        for name in ("site-01", "site-02")
    }
    values = some_values(1, 20)[0]
    minus = [keys["site-00"] for keys in known.values()]
    assert add_masks(first.mask(values), plus=[], minus=minus).tolist() == values.tolist()


def test_x25519_alone_does_not_open_a_hybrid_mask() -> None:
    # A future computer that breaks X25519: it has both private keys of the curve, and every message.
    sessions = confirmed(2)
    state = json.loads(sessions["site-00"].to_bytes())
    broken = SumState.from_bytes(sessions["site-00"].to_bytes())
    without = SumState.from_bytes(
        json.dumps(state | {"made": {}}, sort_keys=True, separators=(",", ":")).encode()
    )
    transcript = sessions["site-00"].transcript
    true = broken.pair_keys(transcript)["site-01"]
    guessed = without.pair_keys(transcript)["site-01"]
    values = np.arange(LENGTH, dtype=np.uint32)
    sent = sessions["site-00"].mask(values)
    assert add_masks(sent, plus=[], minus=[true]).tolist() == values.tolist()
    assert uniform(add_masks(sent, plus=[], minus=[guessed]))


def test_two_attempts_use_unrelated_masks() -> None:
    zeros = np.zeros(LENGTH, np.uint32)
    first, second = (confirmed(2)["site-00"].mask(zeros) for _ in range(2))
    assert unrelated(first, second)
    assert uniform(first - second)
