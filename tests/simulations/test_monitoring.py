"""A released model evaluated again: one table of patients who did not train it, charged to those held out."""

from pathlib import Path

import numpy as np
import pytest
from tests.evaluating import evaluated
from tests.monitoring import monitor, release, watching
from tests.studies import joint_protocol, private_protocol, roster_of, small_federation

from wardround.common.learning.parameters import parameters_digest
from wardround.common.privacy.events import GaussianSteps, JointGaussianSteps
from wardround.common.study.protocol import StudyProtocol
from wardround.common.trust.studylog import read_log
from wardround.server.coordinator import LOG
from wardround.simulations.federation import Federation, released_table, run_federation

QUIET = evaluated(private_protocol(), noise_multiplier=0.01)
JOINT = evaluated(joint_protocol(), noise_multiplier=0.3)
THREE = ("east", "north", "south")


def steps(made: Federation, site: int) -> tuple[int, int]:
    """What the ledger of a hospital holds: of patients who train, and of those held out."""
    with made.hospitals[site].office().ledger() as ledger:
        spent, held_out = (
            sum(event.steps for event in found if isinstance(event, GaussianSteps | JointGaussianSteps))
            for found in (ledger.spent(), ledger.held_out.spent())
        )
        return spent, held_out


@pytest.mark.usefixtures("quick_disk")
@pytest.mark.parametrize("study", [QUIET, JOINT], ids=["site", "joint"])
def test_a_released_model_is_evaluated_once_more_and_charged_to_those_held_out_alone(
    tmp_path: Path, study: StudyProtocol
) -> None:
    first = small_federation(tmp_path / "first", study, names=THREE)
    found = release(first)
    again = watching(first, found, monitor(found), tmp_path / "again")
    for _ in range(2):  # the second time from its checkpoint: nothing is charged twice
        model = run_federation(again)
        assert parameters_digest(model) == found.before.model
        assert [steps(again, site) for site in range(3)] == [(2, 2)] * 3
    table = released_table(again.folder, again.protocol)
    assert table is not None
    assert table.sites == THREE
    assert abs(table.table.sum() - 18) < 6 * 0.3 * np.sqrt(48 * 3 / 2)
    kinds = [entry.kind for entry in read_log(again.folder / LOG, roster_of(again))]
    assert [kind for kind in kinds if kind in ("round", "void", "evaluation", "result", "finish")] == [
        "evaluation",
        "result",
        "finish",
    ]
