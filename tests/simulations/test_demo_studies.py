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
from wardround.simulations.demo_studies import DELTA, EPSILON, DemoFiles, write_demo


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> DemoFiles:
    return write_demo(tmp_path_factory.mktemp("demo"), np.random.default_rng(7), seed=7)


@pytest.mark.parametrize("study", ["demo-response", "demo-survival"])
def test_all_rounds_together_cost_epsilon_three(demo: DemoFiles, study: str) -> None:
    protocol = load(demo.private[study])
    events = [protocol.event()] * protocol.federation.rounds
    assert epsilon(events, DELTA) <= EPSILON
    assert second_opinion(events, DELTA) == pytest.approx(EPSILON, abs=0.02)


@pytest.mark.parametrize("study", ["demo-response", "demo-survival"])
def test_the_unprotected_twin_is_the_same_study_and_says_that_it_has_no_privacy(
    demo: DemoFiles, study: str
) -> None:
    private, open_ = load(demo.private[study]), load(demo.unprotected[study])
    assert open_.study == private.study
    assert open_.features == private.features
    assert open_.federation == private.federation
    assert isinstance(open_.event(), NonPrivate)
    assert open_.seed == 7
    assert private.seed is None


def test_no_constant_was_computed_from_the_consortium(demo: DemoFiles) -> None:
    assert not any(load(path).drafted for path in (*demo.private.values(), *demo.unprotected.values()))


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
