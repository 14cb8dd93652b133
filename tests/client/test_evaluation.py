"""A site's held-out patients: what is counted and charged, and that nothing about them makes a site refuse."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.doors import DELTA, MODEL, REPLY, Site
from tests.evaluating import evaluated
from tests.studies import RUN, WIDTH, joint_protocol, patients, private_protocol, renamed

from wardround.client.evaluation import Examiner
from wardround.client.policy import SitePolicy
from wardround.common.errors import PolicyRefusal, PrivacyError, TrustError
from wardround.common.learning.data import PatientRows
from wardround.common.learning.evaluated import TABLE
from wardround.common.learning.models import initial
from wardround.common.learning.parameters import Parameters
from wardround.common.learning.tablebins import score_bins
from wardround.common.learning.tabulating import counted, group_codes
from wardround.common.privacy.accounting import epsilon
from wardround.common.privacy.events import DpEvent, GaussianSteps
from wardround.common.privacy.jointnoise import opened_sum
from wardround.common.study.outcomes import Targets
from wardround.common.study.protocol import StudyProtocol

STUDY = evaluated(private_protocol(rounds=4, attempts=2), epsilon=1.0)
LAST = 5


def steps(events: list[DpEvent]) -> int:
    return sum(event.steps for event in events if isinstance(event, GaussianSteps))


def sexes(n: int) -> np.ndarray:
    return np.array((["f", "m", None, "unknown"] * n)[:n], dtype=object)


def examiner(protocol: StudyProtocol, rows: PatientRows) -> Examiner:
    assert protocol.evaluation is not None
    codes = group_codes(protocol.evaluation, {"sex": sexes(rows.n_patients)}, rows.n_patients)
    return Examiner(protocol, rows, codes)


def steep(weight: float) -> Parameters:
    model = initial(STUDY, WIDTH)
    model["output.weight"][0, 0] = weight
    return model


def test_every_patient_is_in_one_cell_of_the_declared_group_and_outcome() -> None:
    rows, model = patients(1, n=40), steep(2.0)
    codes = group_codes(STUDY.evaluation, {"sex": sexes(40)}, 40)  # type: ignore[arg-type]
    table = counted(STUDY, model, rows, codes).reshape(8, 2, 3)
    assert table.sum(axis=0).sum(axis=0).tolist() == [10, 10, 20]  # two spellings were not declared
    assert table[:, 1].sum() == rows.targets.value.sum()
    probability = 1 / (1 + np.exp(-2.0 * rows.inputs[:, 0].astype(np.float64)))
    (bins,) = score_bins(STUDY, STUDY.evaluation, model)  # type: ignore[arg-type]
    assert len(set(bins.place(probability))) > 5
    for place in range(8):
        assert table[place].sum() == (bins.place(probability) == place).sum()


def test_samples_of_one_patient_are_one_score() -> None:
    one = patients(1, n=1)
    twice = PatientRows(
        inputs=np.array([[9.0, 0, 0], [-9.0, 0, 0]], np.float32),
        patient=np.array([0, 0]),
        targets=one.targets,
    )
    table = counted(STUDY, steep(1.0), twice, np.zeros((1, 1), np.int64)).reshape(8, 2, 3)
    assert table.sum() == 1
    (bins,) = score_bins(STUDY, STUDY.evaluation, steep(1.0))  # type: ignore[arg-type]
    assert table[bins.edges.index(0.5)].sum() == 1  # a mean of one half, on the edge at .5


@pytest.mark.parametrize(
    "rows",
    [
        patients(1).take(np.arange(0)),
        replace(patients(1), targets=Targets(value=np.zeros(24))),
        replace(patients(1), targets=Targets(value=np.ones(24))),
    ],
    ids=["nobody held out", "one class only", "the other class only"],
)
def test_no_patients_and_one_class_give_a_table_like_any_other(rows: PatientRows) -> None:
    found = examiner(STUDY, rows).train(steep(1.0), LAST)
    assert {name: array.shape for name, array in found.items()} == {TABLE: (48,)}
    assert np.isfinite(found[TABLE]).all()


def test_a_model_that_overflows_and_a_column_that_is_missing_are_no_reason_to_refuse() -> None:
    rows = patients(1)
    codes = group_codes(STUDY.evaluation, {}, 24)  # type: ignore[arg-type]
    crafted = steep(0.0)
    crafted["output.bias"][:] = np.float32(np.inf)
    table = counted(STUDY, crafted, rows, codes).reshape(8, 2, 3)
    assert table.sum() == table[:, :, 2].sum() == 24


def test_the_noise_of_a_table_is_that_of_its_price() -> None:
    """As a chi-square over many cells, of nobody: what is left is noise alone."""
    scale = STUDY.privacy_of(LAST).noise_multiplier
    nobody = examiner(STUDY, patients(1).take(np.arange(0)))
    drawn = np.concatenate([nobody.train(steep(1.0), LAST)[TABLE] for _ in range(400)]) / scale
    assert abs(drawn.mean()) < 5.5 / np.sqrt(len(drawn))
    assert abs(drawn.var() - 1) < 5.5 * np.sqrt(2 / len(drawn))


def test_shares_of_three_sites_add_up_to_the_table_under_the_noise_of_its_price() -> None:
    protocol = evaluated(joint_protocol(rounds=4), epsilon=1.0)
    rows = patients(1, n=24)
    privacy, site = protocol.privacy_of(LAST), examiner(protocol, rows)
    shares = [[site.share(steep(1.0), LAST, sites=3) for _ in range(3)] for _ in range(40)]
    total = [opened_sum(privacy, np.sum(three, axis=0, dtype=np.uint32), sites=3) for three in shares]
    codes = group_codes(protocol.evaluation, {"sex": sexes(24)}, 24)  # type: ignore[arg-type]
    left = np.stack(total) - 3 * counted(protocol, steep(1.0), rows, codes)
    spread = privacy.noise_multiplier * np.sqrt(3 / 2)
    assert abs(left.var() / spread**2 - 1) < 5.5 * np.sqrt(2 / left.size)


def test_a_table_without_its_mechanism_is_never_made() -> None:
    with pytest.raises(PrivacyError, match="expected an evaluation"):
        examiner(STUDY, patients(1)).train(steep(1.0), 1)
    with pytest.raises(PrivacyError, match="found 'joint-noise'"):
        examiner(evaluated(joint_protocol(rounds=4)), patients(1)).train(steep(1.0), LAST)


def test_the_evaluation_is_charged_to_the_held_out_patients_alone(tmp_path: Path) -> None:
    with Site(tmp_path).open() as (door, ledger):
        door.reserve(STUDY)
        assert (steps(ledger.exposure()), steps(ledger.held_out.exposure())) == (8, 2)
        door.charge(STUDY, 1, 1, MODEL, run=RUN)
        assert (steps(ledger.spent()), steps(ledger.held_out.spent())) == (1, 0)
        receipt = door.charge(STUDY, LAST, 1, MODEL, run=RUN)
        assert (steps(ledger.spent()), steps(ledger.held_out.spent())) == (1, 1)
        assert receipt.event == STUDY.event_of(LAST)
        door.let_go(STUDY, LAST, 1, REPLY)
        door.close(STUDY)
        assert (steps(ledger.exposure()), steps(ledger.held_out.exposure())) == (0, 1)


def test_nothing_is_charged_and_nothing_leaves_without_an_approval(tmp_path: Path) -> None:
    with Site(tmp_path).open() as (door, ledger):
        with pytest.raises(PrivacyError, match="no reservation"):
            door.charge(STUDY, LAST, 1, MODEL, run=RUN)
        assert ledger.held_out.spent() == []


def test_a_second_evaluation_beyond_the_reservation_is_refused(tmp_path: Path) -> None:
    with Site(tmp_path).open() as (door, _):
        door.reserve(STUDY)
        for attempt in (1, 2):
            door.charge(STUDY, LAST, attempt, MODEL, run=RUN)
            door.let_go(STUDY, LAST, attempt, REPLY + bytes([attempt]))
        with pytest.raises(PrivacyError, match="used up"):
            door.charge(STUDY, LAST, 3, MODEL, run=RUN)
        with pytest.raises(TrustError):
            door.charge(STUDY, LAST, 1, MODEL, run=RUN)


def test_an_answered_evaluation_is_resent_as_it_was_and_costs_nothing_more(tmp_path: Path) -> None:
    site = Site(tmp_path)
    with site.open() as (door, _):
        door.reserve(STUDY)
        door.charge(STUDY, LAST, 1, MODEL, run=RUN)
        door.let_go(STUDY, LAST, 1, REPLY)
    with site.open() as (door, ledger):
        assert door.sent(STUDY, LAST, 1) == REPLY
        assert steps(ledger.held_out.spent()) == 1


def capped(site: Site, cap: float) -> None:
    path = site.folder / "site.toml"
    path.write_text(path.read_text(encoding="utf-8") + f"epsilon_cap_held_out = {cap!r}\n", encoding="utf-8")
    site.policy = SitePolicy.load(path)


def price(releases: int) -> float:
    event = STUDY.event_of(LAST)
    assert isinstance(event, GaussianSteps)
    return epsilon([replace(event, steps=releases)], DELTA)


def test_held_out_patients_have_a_cap_of_their_own(tmp_path: Path) -> None:
    site = Site(tmp_path)
    capped(site, price(2))
    with site.open() as (door, ledger):
        door.reserve(STUDY)
        with pytest.raises(PolicyRefusal, match=r"held-out patients of this pool to epsilon .* lifetime cap"):
            door.reserve(renamed(STUDY, "again"))
        assert steps(ledger.exposure()) == 8  # nor was its training reserved
        door.reserve(private_protocol(rounds=1))


def test_a_study_that_trains_on_patients_who_evaluated_another_pays_for_both(tmp_path: Path) -> None:
    """The other holds nobody out: whoever evaluated the first one trains in it."""
    site = Site(tmp_path)
    capped(site, price(2))
    everybody = renamed(private_protocol(rounds=1), "everybody")
    everybody = replace(everybody, cohort=replace(everybody.cohort, test_fraction=0.0))
    with site.open() as (door, ledger):
        door.reserve(STUDY)
        with pytest.raises(PolicyRefusal, match="held-out patients"):
            door.reserve(everybody)
        assert steps(ledger.exposure()) == 8


def test_an_external_site_sets_nothing_aside_for_training(tmp_path: Path) -> None:
    asked = evaluated(private_protocol(rounds=4, attempts=2), external_sites=("north",))
    with Site(tmp_path).open() as (door, ledger):
        door.reserve(asked)
        assert (ledger.exposure(), steps(ledger.held_out.exposure())) == ([], 2)
        with pytest.raises(PrivacyError):
            door.charge(asked, 1, 1, MODEL, run=RUN)
