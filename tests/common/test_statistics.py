"""One patient's influence on the statistics, by brute force, and what the sum holds."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.clipping_cases import OUTCOMES
from tests.training_cases import CONTINUOUS, NOISY, study

from wardround.common.errors import StudyError, UsageError
from wardround.common.learning import statistics
from wardround.common.learning.data import PatientRows
from wardround.common.learning.statistics import LARGEST_SIZE, Layout, size, statistics_sum
from wardround.common.study.outcomes import SurvivalOutcome, Targets
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.terms import InputTerms, ModelTerms

C = 0.5
EXACT = C * (1 + 2.0**-40)
KINDS = tuple(OUTCOMES)


def protocol(kind: str, norm: str = "unit", clipping_norm: float = C) -> StudyProtocol:
    terms = InputTerms(norm="unit" if norm == "unit" else "none")
    privacy = replace(NOISY, clipping_norm=clipping_norm)
    return replace(study(privacy=privacy, outcome=OUTCOMES[kind]), inputs=terms)


def rows(
    inputs: NDArray[np.float64], value: NDArray[np.float64], event: NDArray[np.bool_], counts: list[int]
) -> PatientRows:
    return PatientRows(
        inputs=inputs.astype(np.float32),
        patient=np.repeat(np.arange(len(counts)), counts),
        targets=Targets(value=value, event=event),
    )


def patients(kind: str, seed: int, *, d: int = 4, n: int = 9, scale: float = 1.0) -> PatientRows:
    """Patients with one to three rows, of every class and every exit."""
    rng = np.random.default_rng(seed)
    counts = [int(count) for count in rng.integers(1, 4, n)]
    inputs = scale * rng.normal(size=(sum(counts), d))
    value = {
        "binary": rng.integers(0, 2, n).astype(np.float64),
        "class": rng.integers(0, 3, n).astype(np.float64),
        "continuous": scale * rng.normal(size=n),
        "survival": rng.exponential(scale=25.0, size=n) + 0.1,
    }[kind]
    return rows(inputs, value, rng.random(n) < 0.5, counts)


def without(cohort: PatientRows, patient: int) -> PatientRows:
    return cohort.take(np.delete(np.arange(cohort.n_patients), patient))


@pytest.mark.parametrize("norm", ["unit", "none"])
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=20)
@given(seed=st.integers(0, 10**6), exponent=st.floats(-30, 30))
def test_no_patient_moves_the_sum_by_more_than_c(kind: str, norm: str, seed: int, exponent: float) -> None:
    cohort = patients(kind, seed, scale=10.0**exponent)
    whole = statistics_sum(protocol(kind, norm), cohort)
    for patient in range(cohort.n_patients):
        alone = statistics_sum(protocol(kind, norm), cohort.take(np.array([patient])))
        moved = whole - statistics_sum(protocol(kind, norm), without(cohort, patient))
        assert np.linalg.norm(alone) <= EXACT
        assert np.linalg.norm(moved) <= EXACT + 1e-12
        np.testing.assert_allclose(moved, alone, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_the_worst_patient_within_the_public_ranges_uses_c_fully_and_is_not_clipped(kind: str) -> None:
    """The scale is as tight as it can be: unit rows, and an outcome at its expected end or every interval survived."""
    unit = np.eye(4)[[2]]
    value = {"binary": 1.0, "class": 2.0, "continuous": 2.0, "survival": 39.0}[kind]
    norms = [
        np.linalg.norm(statistics_sum(protocol(kind), rows(unit, np.array([value]), np.array([event]), [1])))
        for event in (True, False)
    ]
    assert max(norms) == pytest.approx(C, rel=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_a_patients_many_rows_are_one_patient(kind: str) -> None:
    """Repeating all rows of a patient changes nothing, however often."""
    cohort = patients(kind, 3)
    often = PatientRows(
        inputs=np.repeat(cohort.inputs, 5, axis=0),
        patient=np.repeat(cohort.patient, 5),
        targets=cohort.targets,
    )
    np.testing.assert_allclose(
        statistics_sum(protocol(kind), often), statistics_sum(protocol(kind), cohort), atol=1e-12
    )


def test_of_the_symmetric_part_the_upper_triangle_keeps_the_length_of_the_whole() -> None:
    """The whole matrix by numpy; an unweighted triangle would be shorter, a whole matrix needs as much noise twice."""
    layout = Layout.of(protocol("class"), 4)
    z = np.append(np.random.default_rng(1).normal(size=4), 0.5)
    parts = layout.split(np.zeros(layout.size))._replace(gram=np.outer(z, z))
    assert np.linalg.norm(layout.joined(parts)) == pytest.approx(layout.unit * np.dot(z, z))
    assert layout.norm(parts) == pytest.approx(np.dot(z, z))


@pytest.mark.parametrize("kind", KINDS)
def test_split_undoes_joined(kind: str) -> None:
    layout = Layout.of(protocol(kind), 4)
    vector = np.random.default_rng(2).normal(size=layout.size)
    np.testing.assert_allclose(layout.joined(layout.split(vector)), vector, rtol=1e-12)
    gram = layout.split(vector).gram
    assert (gram == gram.T).all()


def test_the_stacked_products_of_unit_vectors_have_length_root_two() -> None:
    """The figure of the privacy rule: x x^T and x y^T at |x| = |y| = 1, without intercept."""
    layout = Layout.of(protocol("class"), 4)
    layout = replace(layout, cross=1.0, unit=1.0)
    rng = np.random.default_rng(5)
    for _ in range(50):
        x, y = np.append(rng.normal(size=4), 0.0), rng.normal(size=3)
        x, y = x / np.linalg.norm(x), y / np.linalg.norm(y)
        parts = layout.split(np.zeros(layout.size))._replace(gram=np.outer(x, x), cross=np.outer(x, y))
        assert np.linalg.norm(layout.joined(parts)) == pytest.approx(np.sqrt(2))


@pytest.mark.parametrize("extreme", [1e308, 1e200])
def test_a_patient_that_overflows_adds_exactly_nothing(extreme: float) -> None:
    cohort = patients("continuous", 4)
    value = cohort.targets.value.copy()
    value[3] = extreme
    inputs = np.where((cohort.patient == 3)[:, None], np.float32(3e38), cohort.inputs)
    odd = PatientRows(inputs=inputs, patient=cohort.patient, targets=Targets(value=value))
    found = statistics_sum(protocol("continuous", "none"), odd)
    assert (found == statistics_sum(protocol("continuous", "none"), without(cohort, 3))).all()


@pytest.mark.parametrize("kind", KINDS)
def test_nobody_gives_zeros(kind: str) -> None:
    nobody = patients(kind, 1).take(np.array([], np.int64))
    assert statistics_sum(protocol(kind), nobody).tolist() == [0.0] * size(protocol(kind), 4)


@pytest.mark.parametrize("kind", KINDS)
def test_sites_add_up_and_the_order_of_patients_does_not_matter(kind: str) -> None:
    cohort = patients(kind, 6)
    first, second = np.array([4, 1, 7]), np.array([8, 0, 2, 6, 3, 5])
    parts = [statistics_sum(protocol(kind), cohort.take(own)) for own in (first, second)]
    np.testing.assert_allclose(sum(parts), statistics_sum(protocol(kind), cohort), atol=1e-12)


def test_the_vector_scales_with_c() -> None:
    cohort = patients("binary", 7)
    large = statistics_sum(protocol("binary", clipping_norm=30 * C), cohort)
    np.testing.assert_allclose(large, 30 * statistics_sum(protocol("binary"), cohort), rtol=1e-12)


def test_a_survival_patient_exits_once_and_early_censoring_adds_nothing() -> None:
    """Cut points 10, 20, 40: an event at 15, censored at 25, censored at 5, an event beyond the last cut."""
    time, event = np.array([15.0, 25.0, 5.0, 60.0]), np.array([True, False, False, True])
    one = protocol("survival")
    cohort = rows(np.tile(np.eye(4)[0], (4, 1)), time, event, [1] * 4)
    sums = Layout.of(one, 4).split(statistics_sum(one, cohort))
    assert sums.exits == pytest.approx([0, 1, 0, 0, 1, 1])
    assert sums.gram[0, 0] == pytest.approx((2 + 2 + 0 + 3) / 3)  # intervals at risk, of three
    assert statistics_sum(one, cohort.take(np.array([2]))).tolist() == [0.0] * size(one, 4)


@pytest.mark.parametrize("kind", KINDS)
def test_the_size_is_public_and_counts_every_coordinate(kind: str) -> None:
    targets = {"binary": 2, "class": 3, "continuous": 1, "survival": 1}[kind]
    exits = 6 if isinstance(OUTCOMES[kind], SurvivalOutcome) else 0
    assert size(protocol(kind), 4) == 5 * 6 // 2 + 5 * targets + exits
    assert statistics_sum(protocol(kind), patients(kind, 1)).shape == (size(protocol(kind), 4),)


def test_only_a_linear_model_with_the_default_loss_has_sufficient_statistics() -> None:
    deep = replace(protocol("binary"), model=ModelTerms(kind="mlp", hidden=(3,)))
    cox = study(model=ModelTerms(loss="cox"), outcome=OUTCOMES["survival"])
    for one in (deep, cox):
        with pytest.raises(StudyError, match="linear model with the default loss"):
            statistics_sum(one, patients("binary", 1))


def test_too_many_inputs_are_refused_before_anything_is_allocated() -> None:
    with pytest.raises(StudyError, match=f"at most {LARGEST_SIZE}"):
        size(protocol("binary"), 20_000)
    assert size(protocol("binary"), 2_000) <= LARGEST_SIZE


def test_survival_without_events_is_a_mistake() -> None:
    cohort = patients("survival", 1)
    bare = replace(cohort, targets=Targets(value=cohort.targets.value))
    with pytest.raises(UsageError, match="events"):
        statistics_sum(protocol("survival"), bare)


def test_the_noise_that_a_narrow_target_needs_is_smaller() -> None:
    """A target that cannot leave half an sd takes its whole share of the norm, and so gets less noise per sd."""
    narrow = replace(CONTINUOUS, low=-0.5, high=0.25)
    assert statistics.target_unit(narrow) == 0.5
    assert statistics.target_unit(CONTINUOUS) == statistics.WIDEST_TARGET
