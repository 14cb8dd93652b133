"""This installation conforms; a broken copy of it does not. The statistics are tested in `test_conformancestats`."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from tests.faults.run_faults import ROOT, Fault, applied, check_copy, copy_tree, run_python

from wardround import cli
from wardround.common.audit.conformity import open_report
from wardround.common.code import package_digest
from wardround.common.errors import StorageError, TrustError, UsageError
from wardround.common.trust.identity import SigningKey
from wardround.simulations.conformance import CONDUCT, conform, in_words
from wardround.simulations.conformancestats import MOST_CHECKS
from wardround.simulations.conformancestudies import STUDIES

FAULTS = [
    Fault(**entry)
    for entry in tomllib.loads((ROOT / "tests/faults/conformance.toml").read_text(encoding="utf-8"))["fault"]
    if entry["name"].startswith("conform-")
]
QUICK = ("conform-no-clipping", "conform-normaliser-follows-n")
"""Faults that `make test` plants; the others are planted by `make faults` and by the slow tests."""


def study_of(fault: Fault) -> str:
    """The study that a fault's test runs."""
    return fault.test.partition("[")[2].rstrip("]")


@pytest.mark.parametrize(
    "study",
    [*STUDIES, pytest.param(CONDUCT, marks=pytest.mark.slow)],  # which the next test runs too
)
def test_this_installation_conforms(study: str) -> None:
    found = conform([study])
    assert found.checks
    # All of `make test` would find one check in 2,000 runs to fail by chance: a second run must fail it too.
    again = {check.name for check in conform([study]).failed} if found.failed else set()
    assert not again & {check.name for check in found.failed}, in_words(found)


def test_what_else_leaves_is_looked_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key, report = SigningKey.generate(), tmp_path / "report.json"
    key.save(tmp_path / "key.pem")
    words = ["audit", "conform", "--only", "rare", CONDUCT, "--json"]
    assert cli.main([*words, "--out", str(report), "--key", str(tmp_path / "key.pem")]) == 0
    printed = json.loads(capsys.readouterr().out)
    fields = open_report(report.read_bytes(), key.public)
    assert fields["code"] == printed["code"] == package_digest()
    assert (fields["verdict"], fields["complete"], fields["signer"]) == (
        "conforms",
        "no",
        key.public.encode(),
    )
    assert fields["checks"] == printed["checks"]
    names = [check["name"] for check in printed["checks"] if check["study"] == "conduct"]
    assert {"nothing else leaves", "charges of with", "replays", "what is declined", "refusals"} <= set(names)
    with pytest.raises(TrustError):
        open_report(report.read_bytes().replace(b'"conforms"', b'"does not"'), key.public)
    with pytest.raises(TrustError):
        open_report(report.read_bytes(), SigningKey.generate().public)
    with pytest.raises(StorageError):
        open_report(b'{"format": "wardround-ledger"}', key.public)


def test_arguments_that_mean_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no study 'noises'"):
        conform(["noises"])
    assert cli.main(["audit", "conform", "--out", str(tmp_path / "report.json")]) == 2


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = copy_tree(tmp_path_factory.mktemp("copy"))
    check_copy(made)
    return made


@pytest.mark.parametrize(
    "fault",
    [pytest.param(fault, marks=[] if fault.name in QUICK else pytest.mark.slow) for fault in FAULTS],
    ids=lambda fault: fault.name,
)
def test_a_broken_installation_does_not_conform(fault: Fault, copy: Path) -> None:
    with applied(fault, copy):
        done = run_python(copy, "-m", "wardround", "audit", "conform", "--only", study_of(fault), "--json")
    assert done.returncode == 1, done.stderr
    report = json.loads(done.stdout)
    assert report["verdict"] == "does not conform"
    assert report["code"] != package_digest()


@pytest.mark.slow
def test_this_installation_conforms_again_and_again() -> None:
    found: dict[tuple[str, str], list[float]] = {}
    for _ in range(runs := int(os.environ.get("WARDROUND_CONFORM_RUNS", "100"))):
        run = conform()
        assert run.complete
        assert len(run.checks) <= MOST_CHECKS
        assert run.failed == (), in_words(run)
        for check in run.checks:
            found.setdefault((check.study, check.name), []).append(check.p)
    # P-values that are too small would be seen long before they fail a run: in one check, and in all together.
    small = {check: sum(p < 0.001 for p in each) for check, each in found.items()}
    assert {check: number for check, number in small.items() if number > 3 + runs // 100} == {}
    expected = 0.001 * runs * len(found)
    assert sum(small.values()) <= expected + 4 * expected**0.5 + 1


def test_an_auditor_without_torch_is_told_what_to_install() -> None:
    ask = (
        "import sys; sys.modules['torch'] = None\n"
        "from wardround.cli import main; raise SystemExit(main(['audit', 'conform']))"
    )
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "needs the package torch" in done.stderr
    assert "pip install 'wardround[simulation]'" in done.stderr
