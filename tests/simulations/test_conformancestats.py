"""The p-values of `conform`: small for what is wrong, and not too often small for what is right."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from wardround.simulations.conformancestats import (
    ALPHA,
    MOST_CHECKS,
    Check,
    between_p,
    bound_p,
    certain,
    counts_p,
    directions_p,
    dispersion_p,
    each_scale_p,
    magnitudes,
    mean_p,
    overlap_p,
    rate_p,
    repeats_p,
    residues_p,
    scale_p,
    shape_p,
    tail_threshold,
    tails_p,
    together_p,
    twins_p,
)

Draw = Callable[[np.random.Generator], float]


def test_correct_code_passes_999_of_1000_runs() -> None:
    assert MOST_CHECKS * ALPHA < 1e-3


def test_a_check_fails_below_the_level() -> None:
    made = [
        Check(study="s", name="n", claim="c", expected="e", found="f", p=p) for p in (1.0, ALPHA, 9e-6, 0.0)
    ]
    assert [check.holds for check in made] == [True, True, False, False]
    assert (certain(True), certain(False)) == (1.0, 0.0)


def normals(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.normal(size=shape)


NULL: dict[str, Draw] = {
    "scale": lambda rng: scale_p(float((normals(rng, 500) ** 2).sum()), 500),
    "mean": lambda rng: mean_p(normals(rng, 500)),
    "shape": lambda rng: shape_p(normals(rng, 500)),
    "tails": lambda rng: tails_p(normals(rng, 5000)),
    "repeats": lambda rng: repeats_p(normals(rng, 2000)),
    "between": lambda rng: between_p(normals(rng, 15, 2000)),
    "bound": lambda rng: bound_p(float(np.linalg.norm(normals(rng, 50) * 0.1 + np.eye(50)[0])), 1.0, 0.1, 50),
    "rate": lambda rng: rate_p(int(rng.binomial(2856, 0.25)), 2856, 0.25),
    "batch sizes": lambda rng: dispersion_p(rng.binomial(119, 0.25, 24), 119, 0.25),
    "patients' counts": lambda rng: dispersion_p(rng.binomial(24, 0.25, 119), 24, 0.25),
    "counts of epochs": lambda rng: dispersion_p(rng.binomial(640, 0.25, 119), 640, 0.25),
    "counts of steps": lambda rng: dispersion_p(rng.binomial(16, 0.25, 4760), 16, 0.25),
    "repeats of sizes": lambda rng: repeats_p(magnitudes(normals(rng, 2000))),
    "between sizes": lambda rng: between_p(magnitudes(normals(rng, 15, 2000))),
    "scale of each": lambda rng: each_scale_p(normals(rng, 20, 300)),
    "directions": lambda rng: directions_p(normals(rng, 400, 20)),
    "twins": lambda rng: twins_p(normals(rng, 12, 200)),
    "residues": lambda rng: residues_p(np.rint(normals(rng, 5000) * 4096).astype(np.int64), 64),
    "each count": lambda rng: counts_p(rng.binomial(24, 0.25, 119), 24, 0.25),
    "rare counts": lambda rng: counts_p(rng.binomial(119, 2**-8, 24), 119, 2**-8),
    "together": lambda rng: together_p(rng.binomial(16, 0.25, (40, 60)), 16, 0.25),
    "rounds together": lambda rng: overlap_p(rng.random((24, 119)) < 0.25, 0.25),
}


@pytest.mark.parametrize("name", NULL)
def test_what_is_right_is_seldom_called_wrong(name: str) -> None:
    rng = np.random.default_rng(20261127)
    draws = 500
    found = np.array([NULL[name](rng) for _ in range(draws)])
    for level in (0.05, 0.01, 0.001):
        # Four standard errors of the share, and one run for the rarest level.
        allowed = draws * level + 4 * np.sqrt(draws * level) + 1
        assert (found < level).sum() <= allowed, (name, level)


@pytest.mark.parametrize(("n", "patients"), [(24, 119), (119, 24), (640, 119), (1904, 40)])
def test_the_dispersion_of_binomials_is_no_wider_than_chi_square(n: int, patients: int) -> None:
    # Far out, where a check fails: 100,000 draws, 10 expected below 1e-4 and 1 below the level.
    rng = np.random.default_rng(7)
    counts = rng.binomial(n, 0.25, (100_000, patients))
    squares = ((counts - n * 0.25) ** 2 / (n * 0.1875)).sum(axis=1)
    law = stats.chi2(patients)
    p = 2 * np.minimum(law.cdf(squares), law.sf(squares))
    assert (p < 1e-4).sum() <= 24
    assert (p < ALPHA).sum() <= 6


def test_two_percent_less_noise_is_found_almost_surely() -> None:
    # 291,840 values of the noise study: sqrt(2 n) * .02 = 15.3 standard errors, against 4.4 at the level.
    law = stats.chi2(291_840)
    low = law.ppf(ALPHA / 2)
    assert law.cdf(low / 0.98**2) > 1 - 1e-12
    assert law.cdf(low / 0.99**2) > 0.99


@pytest.mark.parametrize("lag", [1, 100, 999])
def test_noise_that_begins_again_is_found_at_any_distance(lag: int) -> None:
    block = normals(np.random.default_rng(3), lag)
    assert repeats_p(np.resize(block, 2000)) < ALPHA


def test_noise_that_runs_backwards_or_changes_its_sign_is_found() -> None:
    values = normals(np.random.default_rng(3), 2001)
    values[1001:] = values[:1000][::-1]
    assert repeats_p(values) < ALPHA
    signs = np.where(np.random.default_rng(4).random(2000) < 0.5, -1.0, 1.0)
    repeated = np.resize(normals(np.random.default_rng(3), 500), 2000) * signs
    assert repeats_p(repeated) > ALPHA
    assert repeats_p(magnitudes(repeated)) < ALPHA


def test_one_release_without_noise_is_found_among_many() -> None:
    releases = normals(np.random.default_rng(3), 24, 120)
    assert each_scale_p(releases) > ALPHA
    releases[7] *= 0.4
    assert each_scale_p(releases) < ALPHA


def test_a_part_that_values_have_in_common_or_lack_is_found() -> None:
    rng = np.random.default_rng(3)
    matrix = normals(rng, 2000, 100)
    assert directions_p(matrix) > ALPHA
    assert directions_p(np.sqrt(0.98) * matrix + np.sqrt(0.02) * normals(rng, 2000, 1)) < ALPHA
    matrix[:, 17] = matrix[:, 80]
    assert directions_p(matrix) < ALPHA


@pytest.mark.parametrize("sign", [1, -1])
def test_two_values_with_one_noise_are_found_among_many(sign: int) -> None:
    releases = normals(np.random.default_rng(3), 13, 5000) + 40.0
    assert twins_p(releases) > ALPHA
    releases[:, 4711] = sign * releases[:, 12]
    assert twins_p(releases) < ALPHA


def test_noise_on_a_coarser_grid_is_found() -> None:
    values = normals(np.random.default_rng(3), 100_000)
    fine = np.rint(values * 8192).astype(np.int64)
    assert residues_p(fine, 256) > ALPHA
    assert residues_p(fine // 2 * 2, 256) < ALPHA
    assert residues_p(np.rint(values.astype(np.float16) * 8192).astype(np.int64), 256) < ALPHA


def test_a_patient_who_is_always_in_is_found_among_many() -> None:
    counts = np.random.default_rng(3).binomial(24, 0.25, 119)
    assert counts_p(counts, 24, 0.25) > ALPHA
    counts[50] = 24
    assert counts_p(counts, 24, 0.25) < ALPHA


def test_two_patients_with_one_coin_are_found_among_many() -> None:
    counts = np.random.default_rng(3).binomial(16, 0.25, (40, 119))
    assert together_p(counts, 16, 0.25) > ALPHA
    counts[:, 100] = counts[:, 3]
    assert together_p(counts, 16, 0.25) < ALPHA


def test_two_releases_with_one_noise_are_found_among_many() -> None:
    releases = normals(np.random.default_rng(3), 15, 2000)
    assert between_p(releases) > ALPHA
    releases[11] = 0.2 * releases[3] + np.sqrt(1 - 0.04) * releases[11]
    assert between_p(releases) < ALPHA


def test_uniform_noise_of_the_right_variance_is_found() -> None:
    rng = np.random.default_rng(3)
    assert shape_p(rng.uniform(-np.sqrt(3), np.sqrt(3), 20_000)) < ALPHA


def test_noise_that_is_cut_off_is_found() -> None:
    values = normals(np.random.default_rng(3), 230_400)
    assert tail_threshold(values.size) == pytest.approx(4.0, abs=0.01)
    assert tails_p(values) > ALPHA
    assert tails_p(np.clip(values, -3.99, 3.99)) < ALPHA


def test_a_shifted_mean_is_found() -> None:
    assert mean_p(normals(np.random.default_rng(3), 100_000) + 0.02) < ALPHA


def test_a_patient_beyond_the_bound_is_found_and_one_on_it_is_not() -> None:
    noise = normals(np.random.default_rng(3), 8000) * 0.005
    direction = np.zeros(8000)
    direction[:4] = 0.5
    assert bound_p(float(np.linalg.norm(direction + noise)), 1.0, 0.005, 8000) > ALPHA
    assert bound_p(float(np.linalg.norm(1.05 * direction + noise)), 1.0, 0.005, 8000) < ALPHA


def test_fixed_batches_and_sampling_in_groups_are_found() -> None:
    rng = np.random.default_rng(3)
    assert dispersion_p(np.full(24, 30), 119, 0.25) < ALPHA
    blocks = np.repeat(rng.random((24, 12)) < 0.25, 10, axis=1)
    assert dispersion_p(blocks.sum(axis=1), 120, 0.25) < ALPHA


def test_the_same_sample_in_two_rounds_is_found() -> None:
    included = np.random.default_rng(3).random((24, 119)) < 0.25
    assert overlap_p(included, 0.25) > ALPHA
    included[20] = included[4]
    assert overlap_p(included, 0.25) < ALPHA


def test_a_wrong_rate_is_found() -> None:
    assert rate_p(2856 // 4, 2856, 0.25) > 0.9
    assert rate_p(900, 2856, 0.25) < ALPHA
