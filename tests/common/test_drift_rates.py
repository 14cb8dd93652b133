"""How often tables of one model that did not change are said to have drifted, and how often planted drift is found."""

import numpy as np
import pytest
from tests.common.test_drift import MODEL, STUDY, table

from wardround.common.learning.drift import Drift, drift_of
from wardround.common.privacy.calibration import noise_multiplier_for

NOISE = noise_multiplier_for(epsilon=3.0, delta=1e-5, sample_rate=1.0, steps=1) * np.sqrt(5 / 4)
PAIRS = 120


def comparisons(pairs: int, **changed: float) -> list[Drift]:
    """Independent tables of 500 patients each, five hospitals, joint noise at epsilon 3."""
    return [
        drift_of(
            STUDY,
            MODEL,
            table(50_000 + 2 * pair, 500, noise=NOISE),
            table(50_001 + 2 * pair, 500, noise=NOISE, **changed),
        )
        for pair in range(pairs)
    ]


@pytest.mark.slow
def test_a_model_that_did_not_change_is_rarely_said_to_have_drifted() -> None:
    found = comparisons(PAIRS)
    primary = sum(one.primary.verdict == "drifted" for one in found)
    others = sum(any(each.verdict == "drifted" for each in one.changes) for one in found)
    allowed = PAIRS * (0.05 + 3 * np.sqrt(0.05 * 0.95 / PAIRS))
    assert primary <= allowed
    assert others <= allowed


@pytest.mark.slow
def test_planted_drift_is_found() -> None:
    worse, rarer = comparisons(30, slope=0.2), comparisons(30, shift=-1.2)
    assert sum(one.primary.verdict == "drifted" for one in worse) >= 24
    assert sum(one.calibration == "drifted" for one in rarer) >= 24
