"""Bounds from canaries: equal to a reference implementation's, never valid by luck, and right on the real mechanism."""

import json
import math
import os
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from wardround import cli
from wardround.client.cohort import build_cohort
from wardround.client.training import LocalTrainer
from wardround.common.learning.features import FeaturePath
from wardround.common.learning.parameters import Parameters
from wardround.common.privacy.accounting import gaussian_epsilon
from wardround.common.privacy.randomness import SecureRandom
from wardround.common.study.protocol import StudyProtocol
from wardround.simulations.canaries import (
    Bound,
    best_of_grid,
    composed,
    guessed,
    one_run,
    one_run_gaussian,
    scores,
    step_noise,
)
from wardround.simulations.canaryrun import CanaryReport, audit, in_words
from wardround.simulations.canarysite import Claim, Observed, observe

# Recomputed with `_epsilon_one_run` and `_epsilon_one_run_fdp` of google-deepmind/jax_privacy, auditing.py,
# commit 8967688c26d46f3b74bfdfe61ef1f984b887abab, at significance .05: (m, guesses, right, delta, Steinke, f-DP).
REFERENCE = (
    (1000, 1000, 1000, 1e-5, 5.782283, 12.334570),
    (1000, 100, 100, 1e-5, 3.465376, 5.549028),
    (1000, 200, 180, 1e-5, 1.796285, 2.901243),
    (1000, 1000, 600, 1e-5, 0.297227, 0.583540),
    (100, 50, 45, 1e-5, 1.392791, 2.793021),
    (10000, 2000, 1800, 1e-5, 2.070170, 3.025898),
    (5000, 500, 480, 1e-6, 2.793821, 4.062678),
    (1000, 20, 20, 1e-5, 1.791284, 2.363368),
)


@pytest.mark.parametrize(("canaries", "guesses", "correct", "delta", "classic", "gaussian"), REFERENCE)
def test_the_bounds_equal_a_reference_implementation(
    canaries: int, guesses: int, correct: int, delta: float, classic: float, gaussian: float
) -> None:
    terms = {"canaries": canaries, "guesses": guesses, "correct": correct, "level": 0.05}
    assert one_run(**terms, delta=delta) == pytest.approx(classic, abs=1e-3)  # type: ignore[arg-type]
    found = one_run_gaussian(**terms, delta=max(delta, 1e-5) if delta > 1e-6 else 1e-5)  # type: ignore[arg-type]
    assert found == pytest.approx(gaussian, abs=1e-3)


def test_without_delta_the_bound_is_the_binomial_tail() -> None:
    epsilon = one_run(canaries=1000, guesses=1000, correct=1000, level=0.05, delta=0.0)
    assert (1 / (1 + math.exp(-epsilon))) ** 1000 == pytest.approx(0.05)
    assert epsilon == pytest.approx(5.809068, abs=1e-3)


@pytest.mark.parametrize("bound", [one_run, one_run_gaussian])
def test_guessing_refutes_nothing(bound: object) -> None:
    found = bound(canaries=1000, guesses=1000, correct=500, level=0.05, delta=1e-5)  # type: ignore[operator]
    assert found == pytest.approx(0.0, abs=1e-5)


def test_guesses_are_the_most_extreme_scores() -> None:
    members, strangers = np.array([3.0, 2.0, -5.0]), np.array([-3.0, -2.0, 5.0])
    assert guessed(members, strangers, 1 / 3) == (2, 0)
    assert guessed(members, strangers, 1.0) == (6, 4)


def test_the_bounds_are_wrong_no_more_often_than_their_level() -> None:
    # Canaries under a Gaussian mechanism with mu = 1 for each: the best adversary has the log-likelihood ratio.
    rng, mu, wrong = np.random.default_rng(5), 1.0, 0
    truth = gaussian_epsilon(mu, 1e-5)
    for _ in range(60):
        members, strangers = rng.normal(mu, 1, 500), rng.normal(0, 1, 500)
        found = best_of_grid(
            members,
            strangers,
            bound=lambda m, r, v, level: one_run_gaussian(
                canaries=m, guesses=r, correct=v, level=level, delta=1e-5
            ),
            level=0.05,
        )
        wrong += found.value > truth
        assert 0 < found.value < found.ceiling
    assert wrong <= 8  # 60 times .05, and three standard errors


def test_the_ceiling_is_what_a_perfect_guesser_gets() -> None:
    perfect = best_of_grid(
        np.full(500, 9.0) + np.arange(500),
        -np.full(500, 9.0) - np.arange(500),
        bound=lambda m, r, v, level: one_run(canaries=m, guesses=r, correct=v, level=level, delta=1e-5),
        level=0.05,
    )
    assert perfect == Bound(value=perfect.ceiling, ceiling=perfect.ceiling)
    assert perfect.ceiling == pytest.approx(5.19, abs=0.01)  # measured with another implementation


def test_steps_of_a_subsampled_gaussian_give_its_noise_back() -> None:
    rng, z, q = np.random.default_rng(6), 1.0, 0.25
    inside = rng.random((200, 500)) < q
    members = (inside + rng.normal(0, z, (200, 500))) / z
    strangers = rng.normal(0, 1, (200, 500))
    found = step_noise(members, strangers, rate=q, level=0.05)
    assert z <= found < 1.2 * z
    assert step_noise(strangers, strangers, rate=q, level=0.05) == math.inf


def test_scores_are_log_likelihood_ratios() -> None:
    sums = np.array([[0.3], [1.2]])
    ratio = [
        np.log(0.1 * stats.norm.pdf(s, 1, 2) + 0.9 * stats.norm.pdf(s, 0, 2)) - stats.norm.logpdf(s, 0, 2)
        for s in sums[:, 0]
    ]
    assert scores(sums, noise=2.0, rate=0.1)[0] == pytest.approx(sum(ratio))
    full = [stats.norm.logpdf(s, 1, 2) - stats.norm.logpdf(s, 0, 2) for s in sums[:, 0]]
    assert scores(sums, noise=2.0, rate=1.0)[0] == pytest.approx(sum(full))


def test_epsilon_of_no_noise_and_of_nothing_but_noise() -> None:
    assert composed(0.0, 0.1, 10, 1e-5) == math.inf
    assert composed(math.inf, 0.1, 10, 1e-5) == 0.0
    assert composed(1.131, 0.1, 200, 1e-5) == pytest.approx(7.98, abs=0.02)


def observed_at_the_trainer(claim: Claim, seed: int) -> Observed:
    """As `at_a_hospital`, without its messages: the production trainer on the same patients."""
    frame = claim.table(seed)

    def release(protocol: StudyProtocol, base: Parameters, rounds: int) -> Sequence[Parameters]:
        path = FeaturePath.from_protocol(protocol, None)
        rows = build_cohort(protocol, frame, site="audited", path=path, minimum=1).rows
        trainer = LocalTrainer(protocol, rows, site="audited")
        found = []
        for _ in range(rounds):
            with SecureRandom() as random:
                found.append(trainer.private(base, random))
        return found

    return observe(claim, seed, release)


def check_sound(report: CanaryReport, *, beyond: float = 1.02) -> None:
    epsilon = report.claim.epsilon
    assert 0.85 * epsilon <= report.mechanism.low <= beyond * epsilon
    assert report.mechanism.low <= report.mechanism.value <= report.mechanism.high
    for bound in (report.per_step, report.one_run, report.one_run_gaussian):
        assert 0 <= bound.value <= min(bound.ceiling, beyond * epsilon)
    # Where both are next to nothing, either may be larger.
    assert report.one_run.value <= max(report.one_run_gaussian.value, 0.01)


def test_the_mechanism_has_about_the_epsilon_that_is_claimed() -> None:
    report = audit(claim := Claim(epsilon=4.0), observed_at_the_trainer(claim, seed=1))
    check_sound(report, beyond=1.05)  # 1.02 is passed by chance once in some thousand runs
    assert ("not refuted" in in_words(report)) is not report.refuted
    assert "no proof of privacy" in in_words(report)


def test_a_tenth_less_noise_is_refuted() -> None:
    claim = Claim(epsilon=4.0)
    seen = observed_at_the_trainer(claim, seed=1)
    rng = np.random.default_rng(1)

    def quieter(part: np.ndarray) -> np.ndarray:
        """The same canaries under .8 of the noise: the noise replaced, inclusions drawn anew."""
        return rng.normal(0, 0.8 * claim.noise, part.shape)

    entries = rng.random(seen.members.shape) < claim.rate
    broken = Observed(
        members=quieter(seen.members) + entries,
        strangers=quieter(seen.strangers),
        silent=quieter(seen.silent),
        calm=seen.calm,
    )
    report = audit(claim, broken)
    assert report.refuted
    assert report.as_dict()["refuted"] == "yes"
    assert report.mechanism.low > 4.4


@pytest.mark.slow
@pytest.mark.parametrize("epsilon", [1.0, 4.0, 8.0])
def test_twenty_seeds_stay_within_the_claim(epsilon: float) -> None:
    claim, seeds = Claim(epsilon=epsilon), int(os.environ.get("WARDROUND_CANARY_SEEDS", "20"))
    reports = [audit(claim, observed_at_the_trainer(claim, seed)) for seed in range(seeds)]
    for report in reports:
        check_sound(report)
    # Each of the bounds may be wrong once in twenty runs; noise has no seed.
    assert sum(report.refuted for report in reports) <= 1 + seeds // 6


@pytest.mark.slow
def test_the_command_audits_the_installed_hospital(capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "audit",
        "canary",
        "--epsilon",
        "8",
        "--steps",
        "10",
        "--canaries",
        "40",
        "--level",
        "0.001",
        "--json",
    ]
    assert cli.main(words) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["refuted"] == "no"
    assert found["mechanism"]["low"] < 8 < found["mechanism"]["high"]
    assert found["noise"]["low"] < 1 < found["noise"]["high"]
    assert found["sensitivity"]["value"] == pytest.approx(1.0, abs=0.01)
