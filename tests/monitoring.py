"""Released models that are evaluated again, for tests: a small finished study, and the one that monitors its model."""

from dataclasses import replace
from pathlib import Path

from wardround.common.learning.calibrationof import calibration_of
from wardround.common.learning.features import FeaturePath
from wardround.common.learning.monitored import FOLDER, Monitored, monitoring_study
from wardround.common.learning.released import ReleasedModel
from wardround.common.study.protocol import StudyProtocol
from wardround.simulations.federation import Federation, released_table, run_federation


def release(made: Federation) -> Monitored:
    """Run a study to its end; its model, with the table of its evaluation."""
    model = run_federation(made)
    table = released_table(made.folder, made.protocol)
    assert table is not None
    path = FeaturePath.from_protocol(made.protocol, None)
    return Monitored(
        model=ReleasedModel(protocol=made.protocol, parameters=model, path=path),
        before=calibration_of(made.protocol, model, table),
    )


def monitor(found: Monitored, name: str = "again", **evaluation: object) -> StudyProtocol:
    """The study that evaluates a released model again."""
    return monitoring_study(found, name=name, patients="first seen in 2027", evaluation=evaluation)


def watching(made: Federation, found: Monitored, protocol: StudyProtocol, home: Path) -> Federation:
    """The same hospitals in a study that monitors; its coordinator's folder is below `home`."""
    found.save(home / FOLDER)
    return replace(made, protocol=protocol, folder=home / "federation")
