"""Local-only and pooled training: the same recipe, without privacy, on the same patients."""

import numpy as np
import pytest
from tests.studies import patients, private_protocol, small_protocol

from wardround.common.learning.data import PatientRows
from wardround.common.learning.models import initial
from wardround.common.study.outcomes import Targets
from wardround.simulations.baselines import pooled_rows, train_alone, train_baselines


def test_pooled_rows_keep_every_patient_with_its_rows_and_outcome() -> None:
    first = PatientRows(
        inputs=np.array([[1.0], [2.0], [3.0]], np.float32),
        patient=np.array([0, 0, 1]),
        targets=Targets(value=np.array([5.0, 6.0]), event=np.array([True, False])),
    )
    second = PatientRows(
        inputs=np.array([[4.0], [5.0]], np.float32),
        patient=np.array([0, 0]),
        targets=Targets(value=np.array([7.0]), event=np.array([True])),
    )
    whole = pooled_rows([first, second])
    assert whole.inputs.ravel().tolist() == [1, 2, 3, 4, 5]
    assert whole.patient.tolist() == [0, 0, 1, 2, 2]
    assert whole.targets.value.tolist() == [5, 6, 7]
    assert whole.targets.event is not None
    assert whole.targets.event.tolist() == [True, False, True]


def test_one_full_batch_step_alone_is_one_gradient_step() -> None:
    """Logistic regression from zero: the gradient of the mean loss is -mean((y - 1/2) x)."""
    protocol, rows = small_protocol(rounds=1, learning_rate=0.5, local_steps=1), patients(1)
    model = train_alone(protocol, rows, site="north", seed=0)
    assert all(not array.any() for array in initial(protocol, 3).values())
    residual = rows.targets.value - 0.5
    weight = 0.5 * (residual[:, None] * rows.inputs).mean(axis=0)
    found = {array.size: array.ravel() for array in model.values()}
    np.testing.assert_allclose(found[3], weight, atol=1e-6)
    np.testing.assert_allclose(found[1], [0.5 * residual.mean()], atol=1e-6)


def test_a_site_alone_takes_as_many_steps_as_the_whole_study() -> None:
    rows = patients(1)
    one_long = train_alone(small_protocol(rounds=1, local_steps=6), rows, site="north", seed=0)
    many_short = train_alone(small_protocol(rounds=6, local_steps=1), rows, site="north", seed=0)
    for name in one_long:
        np.testing.assert_allclose(one_long[name], many_short[name], atol=1e-5)


def test_the_yardsticks_of_a_private_study_are_exact() -> None:
    rows = patients(1)
    private = train_alone(private_protocol(), rows, site="north", seed=0)
    plain = train_alone(small_protocol(), rows, site="north", seed=0)
    for name in plain:
        np.testing.assert_array_equal(private[name], plain[name])


def test_the_seed_orders_small_batches_and_nothing_else() -> None:
    protocol, rows = small_protocol(batch_size=4, local_steps=5), patients(1)
    first, again, other = (train_alone(protocol, rows, site="north", seed=seed) for seed in (1, 1, 2))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert any(not np.array_equal(first[name], other[name]) for name in first)


def test_there_is_one_model_per_site_and_one_of_all() -> None:
    parts = {"north": patients(1), "south": patients(2)}
    models = train_baselines(small_protocol(), parts, seed=0)
    assert set(models) == {"pooled", "local:north", "local:south"}
    alone = train_alone(small_protocol(), parts["south"], site="south", seed=0)
    assert all(np.array_equal(models["local:south"][name], alone[name]) for name in alone)
    assert any(not np.array_equal(models["pooled"][name], alone[name]) for name in alone)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_full_batch_alone_does_not_depend_on_the_seed(seed: int) -> None:
    model = train_alone(small_protocol(), patients(1), site="north", seed=seed)
    expected = train_alone(small_protocol(), patients(1), site="north", seed=7)
    for name in model:
        np.testing.assert_allclose(model[name], expected[name], atol=1e-6)
