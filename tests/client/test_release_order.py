"""The order at the release door: reserved, charged, trained, settled, sent; each on disk before the next."""

from pathlib import Path

import pytest
from tests.studies import open_sites, private_protocol, roster_of, small_federation

from wardround.client.trainer import CohortTrainer
from wardround.common.learning.exchange import TASK
from wardround.common.learning.parameters import Parameters, to_bytes
from wardround.common.trust.identity import SigningKey
from wardround.common.trust.ledger import read_ledger
from wardround.simulations.federation import Federation, begin, coordinator_of
from wardround.simulations.hospitals import Hospital


def on_disk(hospital: Hospital) -> list[str]:
    """The kinds of the ledger's entries, as anybody who copies the file reads them."""
    key = SigningKey.load(hospital.folder / "identity.pem").public
    return [entry.kind for entry in read_ledger(hospital.folder / "ledger" / "ledger.jsonl", key)]


@pytest.fixture
def federation(tmp_path: Path) -> Federation:
    made = small_federation(tmp_path, private_protocol())
    made.folder.mkdir(parents=True)
    begin(made)
    return made


def test_the_charge_is_on_disk_before_any_patient_is_read_and_settled_before_bytes_leave(
    federation: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    north = federation.hospitals[0]
    before_training: list[str] = []
    train = CohortTrainer.train

    def watched(self: CohortTrainer, base: Parameters, round_: int) -> Parameters:
        before_training.extend(on_disk(north))
        return train(self, base, round_)

    monkeypatch.setattr(CohortTrainer, "train", watched)
    roster = roster_of(federation)
    coordinator = coordinator_of(federation, roster)
    task = coordinator.study.task()
    message = coordinator.seal(north.name, TASK, to_bytes(task.base), 1, 1, task.base_model)
    with open_sites(federation, roster) as sites:
        sites[north.name].answer(message)
        after = on_disk(north)
    assert before_training == ["open", "reserve", "spend"]
    assert after == ["open", "reserve", "spend", "settle"]
