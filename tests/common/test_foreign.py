"""Other systems' claims: the published case, every usual mistake, and files that describe nothing."""

import json
from pathlib import Path

import pytest
from opacus.accountants import RDPAccountant

from wardround.cli import main
from wardround.common.audit.foreign import ForeignRun, read_runs, run_of
from wardround.common.audit.foreignclaims import judge
from wardround.common.audit.verdicts import Finding
from wardround.common.errors import UsageError

PUBLISHED = Path(__file__).parents[2] / "docs/examples/flamby-heart-disease.toml"
GOOD = ForeignRun(
    noise_multiplier=4.0, batch=50, records=1000, steps=200, delta=1e-5, stated_epsilon=1.0, accountant="prv"
)


def verdict(run: ForeignRun, claim: str) -> Finding:
    (found,) = (one for one in judge(run).findings if claim in one.claim)
    return found


def changed(**fields: object) -> ForeignRun:
    plain = {name: getattr(GOOD, name) for name in ForeignRun.__dataclass_fields__}
    return run_of({**plain, **fields}, where="the test")


def test_the_published_runs_spent_one_and_a_half_to_over_four_times_the_stated_epsilon() -> None:
    by_name = {run.name: judge(run) for run in read_runs(PUBLISHED)}
    renyi = {name: round(one.same_method, 1) for name, one in by_name.items()}
    assert renyi == {"Cleveland": 1.5, "Hungary": 1.6, "Switzerland": 4.4, "Long Beach": 2.4}
    tight = {name: round(one.granted, 1) for name, one in by_name.items()}
    assert tight == {"Cleveland": 1.3, "Hungary": 1.4, "Switzerland": 3.9, "Long Beach": 2.1}
    for one in by_name.values():
        assert one.run.stated_epsilon == 1.0
        refuted = {found.claim for found in one.findings if found.verdict == "refuted"}
        assert "epsilon is 1 at delta 0.001 (add-or-remove)" in refuted
        assert "the accountant counted every noisy step" in refuted
        assert any("batches were drawn" in claim for claim in refuted)


@pytest.mark.parametrize("name", ["Cleveland", "Switzerland"])
def test_the_accountant_of_the_publication_says_the_same(name: str) -> None:
    (run,) = (run for run in read_runs(PUBLISHED) if run.name == name)
    judged = judge(run)
    theirs = RDPAccountant()
    theirs.history = [(judged.noise_multiplier, run.rate, run.accounted_steps)]
    assert theirs.get_epsilon(run.delta) == pytest.approx(1.0, abs=0.01)
    theirs.history = [(judged.noise_multiplier, run.rate, run.run_steps)]
    assert theirs.get_epsilon(run.delta) == pytest.approx(judged.same_method, rel=0.01)


def test_a_claim_that_holds_is_confirmed() -> None:
    judged = judge(GOOD)
    assert judged.granted < 1.0
    assert [one.verdict for one in judged.findings if one.verdict == "refuted"] == []
    assert verdict(GOOD, "epsilon is 1").verdict == "confirmed"


@pytest.mark.parametrize(
    ("fields", "claim"),
    [
        ({"stated_epsilon": 0.5}, "epsilon is 0.5"),
        ({"accounted_steps": 20}, "counted every noisy step"),
        ({"steps": 0, "rounds": 10, "local_steps": 20, "accounted": "round"}, "counted every noisy step"),
        ({"sampling": "shuffled"}, "batches were drawn"),
        ({"sampling": "fixed-size"}, "batches were drawn"),
        ({"delta": 1e-3}, "delta 0.001 is below"),
        ({"accountant": "gdp"}, "upper bound"),
        ({"constants": "records"}, "do not depend on the number of records"),
    ],
    ids=lambda value: str(value),
)
def test_each_usual_mistake_is_refuted(fields: dict[str, object], claim: str) -> None:
    assert verdict(changed(**fields), claim).verdict == "refuted"


def test_shuffled_batches_are_never_confirmed_by_what_poisson_samples_would_cost() -> None:
    shuffled = changed(sampling="shuffled")
    assert verdict(shuffled, "epsilon is 1").verdict == "not checkable"
    # With so much noise that no amplification is needed, the claim holds whatever the order.
    assert verdict(changed(sampling="shuffled", noise_multiplier=20.0), "epsilon is 1").verdict == "confirmed"


def test_without_amplification_every_pass_is_one_full_release() -> None:
    judged = judge(changed(sampling="shuffled"))  # 200 steps of a twentieth: 10 passes
    full = judge(changed(sampling="full-batch", steps=10))
    assert judged.unamplified == pytest.approx(full.granted, abs=1e-6)


def test_constants_from_the_number_of_records_are_no_fault_where_that_number_is_public() -> None:
    run = changed(constants="records", relation="replace-one", stated_epsilon=9.0)
    assert all(one.verdict != "refuted" for one in judge(run).findings)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "at least one"),
        ("[[run]]\ndelta = 1e-5\n", "expected steps"),
        ("[[run]]\ndelta = 1e-5\nsteps = 5\n", "sample_rate"),
        ("[[run]]\ndelta = 1e-5\nsteps = 5\nsample_rate = 0.1\n", "noise_multiplier"),
        ("[[run]]\ndelta = 1.0\nsteps = 5\nsample_rate = 0.1\nnoise_multiplier = 1.0\n", "delta"),
        ("[[run]]\ndelta = 1e-5\nsteps = true\n", "wrong type"),
        ("[[run]]\ndelta = 1e-5\nsteps = -4\nsample_rate = 0.1\nnoise_multiplier = 1.0\n", "steps"),
        ("[[run]]\ndelta = nan\nsteps = 4\n", "wrong type"),
        ("[[run]]\nsigma = 1.0\n", "unknown key 'sigma'"),
        ("[[run]]\ndelta = 1e-5\nsteps = 4\nsample_rate = 2.0\nnoise_multiplier = 1.0\n", "sample_rate"),
        ("run = 5", "at least one"),
        ("[[run", "neither TOML nor JSON"),
    ],
)
def test_a_file_that_describes_no_run_is_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "runs.toml").write_text(text)
    with pytest.raises(UsageError, match=message):
        read_runs(tmp_path / "runs.toml")


def test_the_command_reads_flags_and_gives_the_exit_code_of_the_verdicts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    flags = ["--batch", "50", "--records", "1000", "--steps", "200", "--delta", "1e-5", "--accountant", "prv"]
    held = ["audit", "import", *flags, "--noise-multiplier", "4", "--stated-epsilon"]
    assert main([*held, "1"]) == 0
    assert "epsilon at delta 1e-05, add or remove one" in capsys.readouterr().out
    assert main([*held, "0.5", "--json"]) == 10
    found = json.loads(capsys.readouterr().out)
    assert found["counts"]["refuted"] == 1
    assert found["runs"][0]["granted"] == pytest.approx(judge(GOOD).granted)
    assert main(["audit", "import"]) == 2
