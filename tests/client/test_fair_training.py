"""Group weights and the worst-site objective do what their sources say, and a weight never loosens a bound."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from tests.runs import private_study, study, table

from wardround.client.checkup import check
from wardround.client.clipping import PatientClipper, measured
from wardround.client.cohort import cohorts_by_site
from wardround.client.frozen import from_bytes, to_bytes
from wardround.client.training import train_plain
from wardround.common.learning.batches import TensorBatch
from wardround.common.learning.data import PatientRows
from wardround.common.learning.features import FeaturePath
from wardround.common.learning.losses import patient_losses
from wardround.common.learning.models import build, initial, load_into
from wardround.common.study.fairness import FairnessTerms
from wardround.common.study.protocol import StudyProtocol

BY_SEX = FairnessTerms(group_column="sex", groups=("f",), weights=(4.0,))


def rows_of(protocol: StudyProtocol, site: str = "north") -> tuple[PatientRows, pd.DataFrame]:
    path = FeaturePath.from_protocol(protocol, None)
    found = cohorts_by_site(protocol, table(), "hospital", path=path)
    cohort = next(one for one in found.cohorts if one.site == site)
    return cohort.rows, cohort.groups


def test_each_patient_counts_by_the_weight_of_its_own_group() -> None:
    rows, groups = rows_of(replace(study(), fairness=BY_SEX))
    assert rows.weight is not None
    np.testing.assert_array_equal(rows.weight, np.where(groups["sex"] == "f", 1.0, 0.25))
    chosen = np.array([3, 0])
    np.testing.assert_array_equal(rows.take(chosen).weight, rows.weight[chosen])
    np.testing.assert_array_equal(from_bytes(to_bytes(rows)).weight, rows.weight)
    assert rows_of(study())[0].weight is None


def test_a_weighted_group_that_no_patient_has_is_named() -> None:
    for group, codes in (("f", []), ("F", ["group-not-found"])):
        terms = FairnessTerms(group_column="sex", groups=(group,), weights=(4.0,))
        report = check(replace(study(), fairness=terms), table())
        assert [one.code for one in report.findings if one.column == "sex"] == codes


def test_a_weighted_step_is_that_of_patients_who_stand_there_several_times() -> None:
    protocol = replace(study(local_steps=1), fairness=BY_SEX)
    rows, groups = rows_of(protocol)
    times = np.where(groups["sex"] == "f", 4, 1)
    repeated = replace(rows, weight=None).take(np.repeat(np.arange(rows.n_patients), times))
    base = initial(protocol, rows.inputs.shape[1])
    everybody, several = (np.arange(n) for n in (rows.n_patients, repeated.n_patients))
    weighted, plain = (
        train_plain(protocol, base, rows, [everybody]),
        train_plain(protocol, base, repeated, [several]),
    )
    for name, array in plain.items():
        np.testing.assert_allclose(weighted[name], array, atol=1e-6)


def test_a_clipped_patient_counts_its_weight_and_never_more_than_the_bound() -> None:
    protocol = replace(private_study(), fairness=BY_SEX)
    rows, _ = rows_of(protocol)
    batch = measured(TensorBatch.of(rows))
    module = build(protocol, rows.inputs.shape[1])
    clipper = PatientClipper(module, protocol.outcome, 0.05)
    alone = [clipper.sum(batch.take(torch.tensor([place]))) for place in range(len(batch))]
    norms = [float(torch.cat([part.flatten() for part in each]).norm()) for each in alone]
    assert rows.weight is not None
    np.testing.assert_allclose(norms, 0.05 * rows.weight, rtol=1e-5)  # all of these patients are clipped
    too_much = replace(batch, weight=torch.full((len(batch),), 7.0, dtype=torch.float64))
    for place in range(3):
        (*parts,) = clipper.sum(too_much.take(torch.tensor([place])))
        assert float(torch.cat([part.flatten() for part in parts]).norm()) <= 0.05 * (1 + 2**-20)


def test_a_site_follows_the_gradient_of_its_loss_to_the_power_q_plus_one() -> None:
    q, reference = 2.0, 0.5
    terms = FairnessTerms(worst_site_q=q, reference_loss=reference)
    protocol = replace(study(local_steps=1, learning_rate=0.1), fairness=terms)
    rows, _ = rows_of(protocol)
    base = initial(protocol, rows.inputs.shape[1])
    module = build(protocol, rows.inputs.shape[1])
    load_into(module, base)
    batch = TensorBatch.of(rows)
    loss = patient_losses(module(batch.inputs), batch, protocol.outcome).mean()
    objective = loss ** (q + 1) / ((q + 1) * reference**q)
    gradients = torch.autograd.grad(objective, list(module.parameters()))
    update = train_plain(protocol, base, rows, [np.arange(rows.n_patients)])
    for array, gradient in zip(update.values(), gradients, strict=True):
        np.testing.assert_allclose(array, -0.1 * gradient.numpy(), atol=1e-6)


def test_a_worst_site_objective_moves_the_model_towards_the_site_with_the_larger_loss() -> None:
    protocol = replace(study(local_steps=1), fairness=FairnessTerms(worst_site_q=1.0, reference_loss=0.7))
    rows, _ = rows_of(protocol)
    base = {name: array + 1 for name, array in initial(protocol, rows.inputs.shape[1]).items()}
    fair = train_plain(protocol, base, rows, [np.arange(rows.n_patients)])
    plain = train_plain(study(local_steps=1), base, rows, [np.arange(rows.n_patients)])
    ratio = {name: fair[name] / plain[name] for name in fair}
    factors = np.concatenate([each.ravel() for each in ratio.values()])
    assert factors.min() == pytest.approx(factors.max(), rel=1e-4)
    assert factors.min() > 1  # a wrong model loses more than the reference
