"""What a run may claim: privacy from ledgers and protocol, never from how well it went."""

import json
import math
from dataclasses import replace
from importlib.metadata import version

import pytest
from tests.runs import (
    TAKING_PART,
    command,
    joint_run,
    joint_study,
    new_folder,
    open_run,
    private_run,
    private_study,
    simulate,
    study,
    table,
    write,
)

from wardround.common.code import package_digest
from wardround.common.formats import canonical, digest
from wardround.common.privacy.accounting import epsilon, second_opinion
from wardround.common.privacy.coalitions import joint_epsilons
from wardround.common.privacy.events import JointGaussianSteps, decode
from wardround.common.study.reader import load
from wardround.common.study.schema import DRAFTED
from wardround.simulations.observers import EVERYBODY, EVERYBODY_ELSE, ONE_SITE, SERVER, TOLERATED
from wardround.simulations.results import Results
from wardround.simulations.runfolder import file_digest


def private() -> Results:
    return Results.load(private_run() / "results.json")


def test_epsilon_is_that_of_all_noisy_steps_of_the_run() -> None:
    """Six full-batch steps at noise 4: one Gaussian with mu = sqrt(6) / 4."""
    events = [private_study().event()] * 3
    assert {row.value for row in private().epsilon} == {epsilon(events, 1e-5)}
    assert private().epsilon[0].value == pytest.approx(second_opinion(events, 1e-5), abs=0.02)
    assert {row.adversary for row in private().epsilon} == {EVERYBODY}


def joint_event(sums: int) -> JointGaussianSteps:
    event = joint_study().event()
    assert isinstance(event, JointGaussianSteps)
    return replace(event, steps=sums)


def test_joint_noise_is_stated_against_each_coalition_for_both_relations() -> None:
    """Three sums at noise 6 of two honest sites; three hospitals took part in each."""
    found = Results.load(joint_run() / "results.json")
    event = joint_event(3)
    for rows, relation in ((found.epsilon, "add-or-remove"), (found.replaced, "replace-one")):
        known = joint_epsilons(event, sites=3, delta=1e-5, relation=relation)  # type: ignore[arg-type]
        for site in TAKING_PART:
            values = {row.adversary: row.value for row in rows if row.site == site}
            assert values == {
                SERVER: known.server,
                ONE_SITE: known.participant,
                TOLERATED: known.tolerated,
                EVERYBODY_ELSE: known.everyone_else,
            }
    assert found.honest_sites == 2
    assert found.training_private
    assert found.largest() == epsilon([event], 1e-5)
    assert found.largest(EVERYBODY_ELSE) > found.largest() > found.largest(SERVER)


def test_the_price_of_replacing_a_patient_stands_beside_site_noise_too() -> None:
    events = [private_study().event()] * 3
    assert {row.value for row in private().replaced} == {epsilon(events, 1e-5, "replace-one")}


def test_a_hospital_left_out_in_turn_makes_smaller_sums() -> None:
    """The server saw sums of two hospitals too, so its epsilon is no longer that of three."""
    folder = new_folder()
    sizes = {"north": 40, "south": 40, "west": 40, "east": 40}
    said = simulate(*write(folder, joint_study(rounds=1), table(sizes)), folder / "run", "--leave-one-out")
    assert said.code == 0, said.err
    found = Results.load(folder / "run" / "results.json")
    event = joint_event(4)  # one study over all four, and one without each of the others
    assert found.largest(SERVER) == joint_epsilons(event, sites=3, delta=1e-5).server


def test_the_kept_ledger_extract_says_the_same() -> None:
    sites = json.loads((private_run() / "ledger.json").read_text())["sites"]
    assert set(sites) == {*TAKING_PART}
    for row in private().epsilon:
        events = [decode(event) for event in sites[row.site]["spent"]]
        assert epsilon(events, private().delta) == row.value


def test_only_a_mechanism_with_public_constants_is_called_private() -> None:
    assert private().training_private
    assert not Results.load(open_run() / "results.json").training_private
    assert not private().evaluation_private


def test_without_privacy_epsilon_is_infinite() -> None:
    assert {row.value for row in Results.load(open_run() / "results.json").epsilon} == {math.inf}


def test_constants_drafted_from_the_table_void_the_claim() -> None:
    protocol = private_study()
    features = (replace(protocol.features[0], source=DRAFTED), *protocol.features[1:])
    folder = new_folder()
    said = simulate(*write(folder, replace(protocol, features=features), table()), folder / "run")
    results = Results.load(folder / "run" / "results.json")
    assert (results.training_private, results.drafted) == (False, True)
    assert "NOT private" in said.out
    assert any("drafted from this table" in note for note in results.notes)


def test_folds_are_paid_for() -> None:
    """Two folds are two studies: twice the steps for every patient pool."""
    folder = new_folder()
    said = simulate(*write(folder, private_study(), table()), folder / "run", "--folds", "2")
    assert said.code == 0, said.err
    results = Results.load(folder / "run" / "results.json")
    assert {row.value for row in results.epsilon} == {epsilon([private_study().event()] * 6, 1e-5)}
    assert any("all of them together" in note for note in results.notes)


def test_a_run_names_its_protocol_its_data_and_its_code() -> None:
    folder = new_folder()
    _, patients = write(folder, private_study(rounds=1), table())
    assert simulate(folder / "study.toml", patients, folder / "run").code == 0
    results = Results.load(folder / "run" / "results.json")
    assert results.protocol_digest == load(folder / "study.toml").digest
    assert results.code_digest == package_digest()
    assert results.code_version == version("wardround")
    assert results.data_digest == digest(canonical([file_digest(patients), "hospital"]))


def test_patients_are_counted_as_patients_and_left_out_sites_are_counted() -> None:
    results = Results.load(open_run() / "results.json")
    assert {row.site: row.patients for row in results.cohorts} == {"north": 60, "south": 50, "west": 44}
    assert all(0 < row.held_out < row.patients for row in results.cohorts)
    assert results.left_out_sites == 1
    assert results.imagined_sites


def test_a_pool_that_was_once_released_without_privacy_is_never_called_private_again() -> None:
    folder = new_folder()
    opened, patients = write(folder, study(), table())
    noisy, _ = write(folder / "noisy", private_study(), table())
    split = ("study", "split", "--table", patients, "--site-column", "hospital", "--out", folder / "sites")
    assert command(*split, "--cohort", "synthetic").code == 0
    for name, protocol in (("open", opened), ("noisy-run", noisy)):
        assert command("simulate", protocol, "--sites", folder / "sites", "--out", folder / name).code == 0
    results = Results.load(folder / "noisy-run" / "results.json")
    assert {row.value for row in results.epsilon} == {math.inf}
    assert not results.training_private
    assert "release without privacy before" in (folder / "noisy-run" / "report.html").read_text()
