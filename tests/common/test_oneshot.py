"""Models from statistics: scikit-learn without noise, and sense with noise."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LinearRegression, Ridge
from tests.clipping_cases import OUTCOMES
from tests.training_cases import NOISY, study

from wardround.common.errors import StudyError, UsageError
from wardround.common.learning.data import PatientRows
from wardround.common.learning.models import initial
from wardround.common.learning.oneshot import RAREST_HAZARD, noise_ridge, solve
from wardround.common.learning.parameters import LARGEST, Parameters, check_like
from wardround.common.learning.statistics import Layout, size, statistics_sum
from wardround.common.study.outcomes import Targets
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.terms import InputTerms, ModelTerms

Numbers = NDArray[np.float64]
D = 5
CUTS = (10.0, 20.0, 40.0)
KINDS = tuple(OUTCOMES)


def protocol(kind: str) -> StudyProtocol:
    return replace(study(privacy=NOISY, outcome=OUTCOMES[kind]), inputs=InputTerms(norm="unit"))


def unit_rows(seed: int, n: int, d: int = D) -> Numbers:
    rows = np.random.default_rng(seed).normal(size=(n, d))
    rows[:, 0] += 0.7  # not centred: the intercept matters
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def outcomes(kind: str, x: Numbers, seed: int) -> Targets:
    rng = np.random.default_rng(seed)
    score = 2.5 * x[:, 1] - 1.5 * x[:, 2]
    if kind == "survival":
        time = 30 * rng.exponential(size=len(x)) * np.exp(-score) + 0.01
        follow = rng.uniform(3, 60, size=len(x))
        return Targets(value=np.minimum(time, follow), event=time <= follow)
    if kind == "continuous":
        return Targets(value=np.clip(0.4 * score + 0.3 * rng.normal(size=len(x)), -1.9, 1.9))
    cuts = [0.4] if kind == "binary" else [-0.5, 0.9]
    noisy = score + 0.5 * rng.logistic(size=len(x))
    return Targets(value=np.searchsorted(cuts, noisy).astype(np.float64))


def one_row_each(kind: str, n: int = 300, seed: int = 1) -> PatientRows:
    x = unit_rows(seed, n).astype(np.float32)
    targets = outcomes(kind, x.astype(np.float64), seed + 1)
    return PatientRows(inputs=x, patient=np.arange(n), targets=targets)


def solved(kind: str, cohort: PatientRows, ridge: float = 0.0) -> Parameters:
    width = cohort.inputs.shape[1]
    return solve(protocol(kind), statistics_sum(protocol(kind), cohort), width, ridge=ridge)


def logits(model: Parameters, inputs: NDArray[np.float32]) -> Numbers:
    weight, bias = (model[f"output.{name}"].astype(np.float64) for name in ("weight", "bias"))
    return np.asarray(inputs @ weight.T + bias)


def discriminant(x: NDArray[Any], y: NDArray[Any]) -> LinearDiscriminantAnalysis:
    return LinearDiscriminantAnalysis(solver="lsqr").fit(x.astype(np.float64), y)


def test_binary_logits_are_those_of_scikit_learns_lda() -> None:
    cohort = one_row_each("binary")
    expected = discriminant(cohort.inputs, cohort.targets.value).decision_function(cohort.inputs)
    np.testing.assert_allclose(logits(solved("binary", cohort), cohort.inputs)[:, 0], expected, atol=5e-6)


def test_class_probabilities_are_those_of_scikit_learns_lda() -> None:
    cohort = one_row_each("class")
    found = logits(solved("class", cohort), cohort.inputs)
    odds = np.exp(found - found.max(axis=1, keepdims=True))
    expected = discriminant(cohort.inputs, cohort.targets.value).predict_proba(cohort.inputs)
    np.testing.assert_allclose(odds / odds.sum(axis=1, keepdims=True), expected, atol=1e-6)


@pytest.mark.parametrize("ridge", [0.0, 7.0])
def test_a_number_is_predicted_as_by_scikit_learns_ridge(ridge: float) -> None:
    cohort = one_row_each("continuous")
    expected = Ridge(alpha=ridge).fit(cohort.inputs.astype(np.float64), cohort.targets.value)
    model = solved("continuous", cohort, ridge)
    np.testing.assert_allclose(model["output.weight"][0], expected.coef_, atol=1e-6)
    np.testing.assert_allclose(model["output.bias"], expected.intercept_, atol=1e-6)


def test_inputs_that_are_not_of_unit_length_give_the_same_model_in_their_own_units() -> None:
    cohort = one_row_each("continuous")
    free = replace(protocol("continuous"), inputs=InputTerms(norm="none"))
    model = solve(free, statistics_sum(free, cohort), D, ridge=7.0 / D)  # the ridge is in lengths of sqrt(D)
    expected = Ridge(alpha=7.0).fit(cohort.inputs.astype(np.float64), cohort.targets.value)
    np.testing.assert_allclose(model["output.weight"][0], expected.coef_, atol=1e-6)


def test_the_rows_of_a_patient_share_one_weight() -> None:
    counts = np.random.default_rng(3).integers(1, 4, 80)
    x = unit_rows(4, int(counts.sum())).astype(np.float32)
    y = np.random.default_rng(5).uniform(-1, 1, 80)
    owner = np.repeat(np.arange(80), counts)
    cohort = PatientRows(inputs=x, patient=owner, targets=Targets(value=y))
    expected = Ridge(alpha=2.0).fit(x.astype(np.float64), y[owner], sample_weight=1 / counts[owner])
    model = solved("continuous", cohort, 2.0)
    np.testing.assert_allclose(model["output.weight"][0], expected.coef_, atol=1e-6)


def test_survival_is_least_squares_on_person_intervals() -> None:
    cohort = one_row_each("survival")
    person, died, interval = person_intervals(cohort)
    line = LinearRegression().fit(cohort.inputs.astype(np.float64)[person], died)
    hazard = died.mean()
    model = solved("survival", cohort)
    expected = line.coef_ / (hazard * (1 - hazard))
    np.testing.assert_allclose(model["risk.weight"][0], expected, rtol=2e-6, atol=2e-6)
    rates = np.array([died[interval == j].mean() for j in range(len(CUTS))])
    centre = cohort.inputs[person].mean(axis=0) @ expected
    np.testing.assert_allclose(model["hazard.bias"], np.log(rates / (1 - rates)) - centre, atol=5e-6)


def person_intervals(cohort: PatientRows) -> tuple[NDArray[np.int64], Numbers, NDArray[np.int64]]:
    """Patient, event and interval of everyone at risk, by a plain loop."""
    assert cohort.targets.event is not None
    found = []
    for patient, (time, event) in enumerate(zip(cohort.targets.value, cohort.targets.event, strict=True)):
        for j, (start, end) in enumerate(zip((0.0, *CUTS[:-1]), CUTS, strict=True)):
            died = bool(event) and start < time <= end
            if died or time >= end:
                found.append((patient, float(died), j))
    table = np.array(found)
    return table[:, 0].astype(np.int64), table[:, 1], table[:, 2].astype(np.int64)


def test_a_higher_risk_score_is_a_worse_prognosis() -> None:
    weight = solved("survival", one_row_each("survival"))["risk.weight"][0]
    assert weight[1] > 1.0
    assert weight[2] < -0.5


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ridge", [0.0, 3.0])
def test_nobody_and_no_noise_give_the_first_model(kind: str, ridge: float) -> None:
    model = solve(protocol(kind), np.zeros(size(protocol(kind), D)), D, ridge=ridge)
    for name, value in initial(protocol(kind), D).items():
        shared = (
            model[name][0] if (name, kind) == ("output.bias", "class") else 0.0
        )  # classes may share a constant
        np.testing.assert_allclose(model[name] - shared, value, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sd", [1e-3, 1.0, 1e3, 1e9])
@pytest.mark.parametrize("d", [1, D])
def test_noise_however_large_gives_a_model_that_sites_accept(kind: str, sd: float, d: int) -> None:
    """The Gram matrix is then indefinite and counts are negative; five patients carry next to nothing."""
    one = protocol(kind)
    cohort = one_row_each(kind, n=5)
    cohort = replace(cohort, inputs=np.ascontiguousarray(cohort.inputs[:, :d]))
    for seed in range(4):
        noise = sd * np.random.default_rng(seed).normal(size=size(one, d))
        noisy = statistics_sum(one, cohort) + noise
        for ridge in (0.0, noise_ridge(one, d, sd)):
            check_like(solve(one, noisy, d, ridge=ridge), initial(one, d))


def test_a_scatter_made_negative_by_noise_does_not_turn_the_model_round() -> None:
    """Noise says that classes differ by more than all patients do; the second class still has the larger input."""
    layout = Layout.of(protocol("binary"), 1)
    sums = layout.split(np.zeros(layout.size))
    gram, cross = np.diag([10.0, 100 * 0.25]), np.array([[-40.0, 40.0], [0.0, 0.0]])
    noisy = layout.joined(sums._replace(gram=gram, cross=cross))
    assert solve(protocol("binary"), noisy, 1, ridge=5.0)["output.weight"][0, 0] > 0


def test_a_mean_that_no_rows_could_have_is_drawn_back() -> None:
    """Noise says one patient, whose unit rows add up to 8: the matrix is projected before a mean is taken."""
    layout = Layout.of(protocol("continuous"), 1)
    sums = layout.split(np.zeros(layout.size))
    gram = np.array([[2.0, 4.0], [4.0, 0.25]])
    noisy = layout.joined(sums._replace(gram=gram, cross=np.array([[10.0], [0.0]])))
    model = solve(protocol("continuous"), noisy, 1, ridge=5.0)
    mean = -model["output.bias"][0] / model["output.weight"][0, 0]
    assert 0 < mean < 1


def test_a_class_that_nobody_has_is_not_predicted_and_leaves_the_others_as_they_are() -> None:
    cohort = one_row_each("class")
    two = cohort.take(np.flatnonzero(cohort.targets.value < 2))
    found = logits(solved("class", two), two.inputs)
    expected = discriminant(two.inputs, two.targets.value).decision_function(two.inputs)
    np.testing.assert_allclose(found[:, 1] - found[:, 0], expected, atol=5e-6)
    assert (found.argmax(axis=1) < 2).all()


def test_one_class_everywhere_gives_no_slope() -> None:
    cohort = one_row_each("binary")
    sick = cohort.take(np.flatnonzero(cohort.targets.value == 1))
    model = solved("binary", sick)
    np.testing.assert_allclose(model["output.weight"], 0.0, atol=1e-4)
    assert model["output.bias"][0] > np.log(sick.n_patients)


def test_an_interval_without_events_has_the_rarest_hazard() -> None:
    x = unit_rows(1, 40).astype(np.float32)
    time, event = np.tile([5.0, 30.0, 50.0, 50.0], 10), np.tile([True, True, False, False], 10)
    cohort = PatientRows(inputs=x, patient=np.arange(40), targets=Targets(value=time, event=event))
    model = solved("survival", cohort, ridge=1e-6)
    bias = model["hazard.bias"]
    assert bias[1] - bias[0] == pytest.approx(
        np.log(RAREST_HAZARD / (1 - RAREST_HAZARD)) + np.log(3), abs=1e-3
    )


def test_the_model_does_not_depend_on_how_classes_are_numbered() -> None:
    cohort = one_row_each("class")
    turned = replace(cohort, targets=Targets(value=(cohort.targets.value + 1) % 3))
    first, second = solved("class", cohort, 3.0), solved("class", turned, 3.0)
    np.testing.assert_allclose(np.roll(first["output.weight"], 1, axis=0), second["output.weight"], atol=1e-5)


def test_a_rotation_of_the_inputs_rotates_the_model() -> None:
    """With noise as large in every direction, a ridge prefers none."""
    cohort = one_row_each("binary")
    turn = np.linalg.qr(np.random.default_rng(8).normal(size=(D, D)))[0]
    turned = replace(cohort, inputs=(cohort.inputs @ turn).astype(np.float32))
    first, second = solved("binary", cohort, 3.0), solved("binary", turned, 3.0)
    np.testing.assert_allclose(first["output.weight"] @ turn, second["output.weight"], atol=1e-4)


def test_more_ridge_is_more_shrinkage() -> None:
    cohort = one_row_each("binary")
    lengths = [np.linalg.norm(solved("binary", cohort, ridge)["output.weight"]) for ridge in (0, 5, 50, 5e6)]
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[-1] < 1e-3


def test_the_ridge_is_of_the_size_of_the_noise() -> None:
    """Three quarters of the largest eigenvalue of a pure noise matrix, which is drawn here."""
    one, d = protocol("binary"), 200
    layout = Layout.of(one, d)
    noise = 2.0 * np.random.default_rng(9).normal(size=layout.size)
    largest = np.linalg.eigvalsh(layout.split(noise).gram[:-1, :-1])[-1]
    assert noise_ridge(one, d, 2.0) / largest == pytest.approx(0.75, rel=0.05)
    assert noise_ridge(one, d, 0.0) == 0.0


def test_the_model_is_useful_at_epsilon_one_and_the_ridge_is_why() -> None:
    """Noise of epsilon 1 (mu .268) on 1,000 patients with 20 inputs; the larger class holds 64 percent."""
    x = unit_rows(11, 5000, 20).astype(np.float32)
    y = outcomes("binary", unit_rows(11, 5000, 20), 12).value
    cohort = PatientRows(inputs=x[:1000], patient=np.arange(1000), targets=Targets(value=y[:1000]))
    one, sd = protocol("binary"), NOISY.clipping_norm / 0.2681
    total = statistics_sum(one, cohort)

    def accuracy(ridge: float) -> float:
        noises = [sd * np.random.default_rng(seed).normal(size=total.shape) for seed in range(8)]
        models = [solve(one, total + noise, 20, ridge=ridge) for noise in noises]
        return float(np.mean([(logits(model, x[1000:])[:, 0] > 0) == (y[1000:] > 0) for model in models]))

    assert accuracy(noise_ridge(one, 20, sd)) > 0.68
    assert accuracy(0.0) < 0.65


def test_values_beyond_what_sites_accept_are_scaled_down_together() -> None:
    one = protocol("continuous")
    layout = Layout.of(one, 2)
    sums = layout.split(np.zeros(layout.size))
    tiny = sums._replace(gram=np.diag([1.0, 1.0, 1.0]), cross=np.array([[4e8], [1e8], [0.0]]))
    model = solve(one, layout.joined(tiny), 2, ridge=0.0)
    assert model["output.weight"][0].tolist() == pytest.approx([LARGEST, LARGEST / 4])


@pytest.mark.parametrize("wrong", ["length", "nan", "infinite", "absurd"])
def test_a_sum_that_cannot_be_one_is_refused(wrong: str) -> None:
    one = protocol("binary")
    total = np.zeros(size(one, D) + (wrong == "length"))
    total[3] = {"length": 0.0, "nan": np.nan, "infinite": np.inf, "absurd": 1e200}[wrong]
    with pytest.raises(StudyError, match="expected"):
        solve(one, total, D, ridge=1.0)


def test_a_negative_ridge_or_noise_means_nothing() -> None:
    one = protocol("binary")
    with pytest.raises(UsageError, match="ridge"):
        solve(one, np.zeros(1), D, ridge=-1.0)
    with pytest.raises(UsageError, match="noise_sd"):
        noise_ridge(one, D, -1.0)


def test_a_deep_model_is_refused() -> None:
    with pytest.raises(StudyError, match="linear model"):
        solve(study(model=ModelTerms(kind="mlp", hidden=(3,))), np.zeros(1), D, ridge=1.0)
