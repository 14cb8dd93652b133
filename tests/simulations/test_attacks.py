"""What a curious server sees: everything of a raw update, nothing of a noisy one; and honest numbers of the rest."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.hospital import SUBTYPE, hospital, only, study

from wardround import cli
from wardround.common.errors import UsageError
from wardround.common.learning.parameters import check_like
from wardround.common.study.reader import dumps
from wardround.simulations.attackcohort import Training, synthetic, update
from wardround.simulations.attackmembers import Membership, Shadows
from wardround.simulations.attackruns import ATTACKS, Plan, Result, attack, in_words
from wardround.simulations.attacks import WEIGHT, WeakNoise, inverted, recovered, residuals, seed_of, trap


@cache
def results(name: str, patients: int = 200) -> tuple[Result, ...]:
    plan = Plan(cohort=synthetic(patients, seed=3), seed=3, shadows=4)
    return tuple(attack(plan, [name]))


def value(name: str, seen: str, measure: str, patients: int = 200) -> float:
    (found,) = (r.value for r in results(name, patients) if r.seen == seen and r.measure == measure)
    return found


@pytest.mark.parametrize("patients", [64, 300])
def test_a_raw_update_says_who_trained(patients: int) -> None:
    for seen in ("raw update, one step", "raw update, five epochs", "sum of 5 sites without noise"):
        assert value("span", seen, "membership AUC", patients) >= 0.99


def test_noise_hides_who_trained_and_what_they_have() -> None:
    for mechanism in ("site-noise", "joint-noise"):
        seen = f"{mechanism}, epsilon 8"
        assert abs(value("span", seen, "membership AUC", 300) - 0.5) <= 0.15  # spread .025
        assert value("span", seen, "records recovered", 300) == 0
        assert value("trap", seen, "records recovered") == 0


def test_a_patient_alone_is_read_from_a_raw_update_only() -> None:
    measure = "relative error of the record"
    assert value("inversion", "raw update, one step", measure) <= 1e-5
    assert value("inversion", "site-noise, epsilon 8", measure) > 0.5


def test_crafted_weights_give_records_away_and_a_hospital_would_take_them() -> None:
    assert value("trap", "raw update, one step", "records recovered") >= 10
    cohort = synthetic(20, seed=3)
    base = Plan(cohort=cohort).base(Training())
    check_like(trap(base, cohort.public.inputs, 20, np.random.default_rng(3)), base)


def test_noise_of_a_weak_generator_comes_off_and_that_of_the_installed_one_does_not() -> None:
    found = {(r.seen, r.measure): r.value for r in results("generator")}
    assert found["noise from one of 2^14 seeds", "seed found"] == 1
    assert found["noise from one of 2^14 seeds, taken off", "membership AUC"] >= 0.99
    assert found["site-noise, epsilon 8", "seed found"] == 0


def test_the_released_model_is_compared_with_shadow_models() -> None:
    found = {(r.seen, r.note.split(";")[0]): r.value for r in results("membership")}
    assert len(found) == 4
    assert all(0 <= auc <= 1 for auc in found.values())
    plain = max(auc for (seen, _), auc in found.items() if "without privacy" in seen)
    assert plain > 0.6


def test_the_span_of_known_patients_is_exact() -> None:
    rng = np.random.default_rng(1)
    patients, strangers = rng.normal(size=(5, 40)), rng.normal(size=(5, 40))
    seen = {WEIGHT: (rng.normal(size=(30, 5)) @ patients).astype(np.float32)}
    assert residuals(seen, patients.astype(np.float32)).max() < 1e-5
    assert residuals(seen, strangers.astype(np.float32)).min() > 0.5


def test_inversion_by_hand() -> None:
    record = np.array([1.0, -2.0, 0.5])
    gradient = np.array([0.3, -0.1])
    seen = {
        WEIGHT: np.outer(gradient, record).astype(np.float32),
        "hidden1.bias": gradient.astype(np.float32),
    }
    assert inverted(seen) == pytest.approx(record, rel=1e-6)


def test_a_record_counts_as_recovered_whatever_its_length_and_sign() -> None:
    records = np.eye(3, dtype=np.float32)
    assert recovered(np.array([[-7.0, 0.0, 0.0], [1.0, 1.0, 0.0]]), records) == (1, 1.0)


@pytest.mark.parametrize("shape", [(16,), (500, 1000), (3, 7)])
def test_the_first_values_of_torchs_noise_are_those_of_its_first_block(shape: tuple[int, ...]) -> None:
    block = torch.randn(16, generator=torch.Generator().manual_seed(9))
    whole = torch.randn(shape, generator=torch.Generator().manual_seed(9))
    assert torch.equal(block[:2], whole.ravel()[:2])


def test_a_seed_is_found_or_is_not_there() -> None:
    weak = WeakNoise(seed=77, deviation=0.5)
    seen = weak.added({"w": np.zeros((20, 30), np.float32)})
    assert seed_of(seen, 0.5, 100, 2) == 77
    assert seed_of(seen, 0.5, 77, 2) is None


def test_membership_of_separated_and_equal_scores() -> None:
    apart = Membership.of(np.arange(100.0) + 200, np.arange(100.0))
    assert (apart.auc, apart.hit_rate) == (1.0, 1.0)
    alike = Membership.of(np.zeros(100), np.zeros(100))
    assert (alike.auc, alike.hit_rate) == (0.5, 0.0)


def test_shadows_know_a_patient_whom_models_remember() -> None:
    inside = np.array([[True, False], [True, False], [False, True], [False, True]])
    wobble = np.array([[0.1], [-0.1], [0.1], [-0.1]])
    shadows = Shadows(scores=np.where(inside, 3.0, 0.0) + wobble, inside=inside)
    assert shadows.ratio(np.array([3.0, 0.0]))[0] > 100
    assert shadows.ratio(np.array([3.0, 0.0]))[1] < -100


def test_an_update_is_the_production_trainers() -> None:
    cohort = synthetic(10, seed=3)
    training = Training()
    found = update(cohort, training, Plan(cohort=cohort).base(training), cohort.members, seed=0)
    assert set(found) == {"hidden1.weight", "hidden1.bias", "output.weight", "output.bias"}


def test_the_command_attacks_an_auditors_own_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    protocol, table = study(SUBTYPE), tmp_path / "patients.csv"
    (tmp_path / "study.toml").write_text(dumps(protocol), encoding="utf-8")
    only(hospital(90, seed=4), SUBTYPE).to_csv(table, index=False)
    words = ["audit", "attack", "inversion", "--table", str(table), "--study", str(tmp_path / "study.toml")]
    assert cli.main([*words, "--patients", "30", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {result["attack"] for result in found["results"]} == {"inversion"}
    assert found["results"][0]["value"] < 1e-5


def test_what_cannot_be_attacked_is_refused() -> None:
    with pytest.raises(UsageError, match="no attack 'guess'"):
        attack(Plan(cohort=synthetic(4, seed=1)), ["guess"])
    with pytest.raises(UsageError, match="at least 2 members"):
        synthetic(1, seed=1)
    assert cli.main(["audit", "attack", "--table", "patients.csv"]) == 2
    assert "span" in in_words([Result(attack="span", seen="x", measure="y", value=1.0)])
    assert set(ATTACKS) == {"span", "inversion", "trap", "generator", "membership"}
