"""The demo's protocols are public, calibrated, and readable back; its files are repeatable."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from wardround.common.errors import ProtocolError
from wardround.common.learning.features import FeaturePath
from wardround.common.privacy.accounting import epsilon, second_opinion
from wardround.common.privacy.events import NonPrivate
from wardround.common.study.reader import load
from wardround.simulations.demo_arms import EPSILONS
from wardround.simulations.demo_studies import DELTA, DemoFiles, write_demo
from wardround.simulations.joint_recipe import joint_recipe


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> DemoFiles:
    return write_demo(tmp_path_factory.mktemp("demo"), np.random.default_rng(7), seed=7)


STUDIES = pytest.mark.parametrize("study", ["demo-response", "demo-survival"])


@STUDIES
@pytest.mark.parametrize("target", EPSILONS)
@pytest.mark.parametrize("noise", ["joint", "site"])
def test_all_rounds_together_cost_what_the_label_says(
    demo: DemoFiles, study: str, target: float, noise: str
) -> None:
    protocol = load(demo.arms[f"{noise} noise, epsilon {target:g}"][study])
    events = [protocol.event()] * protocol.federation.rounds
    assert protocol.privacy.mechanism == f"{noise}-noise"
    assert epsilon(events, DELTA) <= target
    assert second_opinion(events, DELTA) == pytest.approx(target, abs=0.02)


@STUDIES
def test_every_mechanism_runs_the_same_study(demo: DemoFiles, study: str) -> None:
    first, *others = [load(paths[study]) for paths in demo.arms.values()]
    for other in others:
        assert (other.study, other.outcome, other.features, other.cohort, other.inputs, other.model) == (
            first.study,
            first.outcome,
            first.features,
            first.cohort,
            first.inputs,
            first.model,
        )
        assert other.seed is None
    assert isinstance(first.event(), NonPrivate)
    assert first.seed == 7


@STUDIES
def test_joint_noise_counts_on_all_hospitals_but_one_and_weights_none(demo: DemoFiles, study: str) -> None:
    protocol = load(demo.arms["joint noise, epsilon 1"][study])
    assert protocol.privacy.honest_sites == len(protocol.federation.sites) - 1 == 4
    assert {site.weight for site in protocol.federation.sites} == {1.0}


@STUDIES
def test_joint_noise_follows_the_rule_for_its_declared_patients(demo: DemoFiles, study: str) -> None:
    for target in EPSILONS:
        protocol = load(demo.arms[f"joint noise, epsilon {target:g}"][study])
        patients = sum(site.reference_patients for site in protocol.federation.sites)
        rule = joint_recipe(epsilon=target, delta=DELTA, patients=patients, length=1.0)
        federation = protocol.federation
        assert (federation.rounds, federation.learning_rate, protocol.privacy.clipping_norm) == (
            rule.rounds,
            rule.learning_rate,
            rule.clipping_norm,
        )


def test_no_constant_was_computed_from_the_consortium(demo: DemoFiles) -> None:
    assert not any(load(path).drafted for paths in demo.arms.values() for path in paths.values())


def test_every_sample_becomes_a_row_of_norm_one(demo: DemoFiles) -> None:
    protocol = load(demo.private["demo-response"])
    path = FeaturePath.from_protocol(protocol, demo.table.parent)
    frame = pd.read_csv(demo.table, dtype=str)
    rows = path.transform(frame)
    assert rows.shape == (len(frame), 44)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)


def test_changed_loadings_are_refused(tmp_path: Path) -> None:
    demo = write_demo(tmp_path, np.random.default_rng(7))
    loadings = tmp_path / "loadings.csv"
    loadings.write_bytes(loadings.read_bytes().replace(b"PC01", b"PC91"))
    with pytest.raises(ProtocolError, match="SHA-256"):
        FeaturePath.from_protocol(load(demo.private["demo-response"]), tmp_path)


def test_equal_generators_write_equal_bytes(demo: DemoFiles, tmp_path: Path) -> None:
    again = write_demo(tmp_path, np.random.default_rng(7), seed=7)
    for first in sorted(demo.table.parent.iterdir()):
        assert (again.table.parent / first.name).read_bytes() == first.read_bytes(), first.name
