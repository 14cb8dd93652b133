"""Bytes that a hostile party chose end in a finding; none of them ends the audit, or keeps it waiting."""

import json
import struct
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest
from safetensors.numpy import save_file
from tests.auditing import Record, finished, judged, ledger_of, refuted
from tests.studies import private_protocol

from wardround.common.audit.case import Case
from wardround.common.audit.recompute import recompute
from wardround.common.audit.verdicts import Finding
from wardround.common.audit.verify import guarded
from wardround.common.errors import PrivacyError, StorageError
from wardround.common.learning.modelfile import read_model_file
from wardround.common.privacy.events import DpEvent, GaussianSteps, JointGaussianSteps
from wardround.common.trust.ledger import read_ledger
from wardround.common.trust.ledgerline import write_entry

CLAIMED = "the stated epsilon of the study is that of its releases"
RELEASED = "the released model is the one that the study ended with"
MODELS = "the model of each round is recomputed from what the sites sent"
FIRST = "the first round started from the public first model"


@cache
def record() -> Record:
    """An honest record, made once per process."""
    return finished(Path(mkdtemp(prefix="audit-hostile-")), private_protocol(rounds=2))


def claiming(epsilon: float) -> Record:
    """The record with another number in its results."""
    results = json.loads(record().files["results.json"])
    stated = results["sites"][0]["epsilon"]
    stated[next(iter(stated))] = epsilon
    return record().with_file("results.json", json.dumps(results).encode())


def of_type(folder: Path, dtype: str, size: int) -> Path:
    """A model's file with one tensor of a type that NumPy may lack."""
    facts = json.dumps({"format": "wardround-model", "version": 1})
    tensor = {"dtype": dtype, "shape": [1], "data_offsets": [0, size]}
    header = json.dumps({"__metadata__": {"wardround": facts}, "model.a": tensor}).encode()
    path = folder / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * size)
    return path


def charged_with(noise: str, folder: Path) -> Record:
    """The record with a ledger whose hospital was charged for another study's event as well."""
    name = ledger_of("north")
    data = record().files[name]
    (folder / "ledger").write_bytes(data)
    last = read_ledger(folder / "ledger", record().keys["north"].public)[-1]
    event = {"kind": "gaussian-steps", "noise_multiplier": noise, "sample_rate": "1.0", "steps": 1}
    study = {"protocol": "cd" * 32}
    reserve = {**study, "study": "x", "event": event, "releases": 1}
    spend = {**study, "study": "x", "round": 1, "attempt": 1, "base_model": "ef" * 32, "run": "ab" * 16}
    for kind, payload in (("reserve", reserve), ("spend", spend)):
        last = write_entry(record().keys["north"], before=last, kind=kind, time=last.time, payload=payload)
        data += last.line + b"\n"
    return record().with_file(name, data)


def test_a_finished_study_without_its_model_is_refuted_and_nothing_of_it_is_passed_over(
    tmp_path: Path,
) -> None:
    findings = judged(record().with_file("model.safetensors", None).hand_over(tmp_path / "bundle"))
    kinds = {one.claim: one.verdict for one in findings}
    assert kinds[RELEASED] == "refuted"
    assert kinds[MODELS] == kinds[FIRST] == "not checkable"


def test_a_hospitals_own_files_without_the_model_refute_nothing(tmp_path: Path) -> None:
    own = record()
    for name in [name for name in own.files if name.startswith(("archive/", "model", "results"))]:
        own = own.with_file(name, None)
    findings = judged(own.hand_over(tmp_path / "bundle"))
    assert {one.verdict for one in findings if one.claim in (RELEASED, MODELS, FIRST)} == {"not checkable"}
    assert len([one for one in findings if one.claim in (RELEASED, MODELS, FIRST)]) == 3


@pytest.mark.parametrize("epsilon", [10**400, -1.0], ids=["beyond floats", "negative"])
def test_an_epsilon_that_is_no_number_of_zero_or_more_is_refuted(epsilon: float, tmp_path: Path) -> None:
    assert "expected epsilon >= 0" in refuted(claiming(epsilon).hand_over(tmp_path / "bundle"))[CLAIMED]


@pytest.mark.parametrize("noise", ["1e200", "1e-200"])
def test_noise_in_a_ledger_beyond_what_can_be_computed_crashes_nothing(noise: str, tmp_path: Path) -> None:
    findings = judged(charged_with(noise, tmp_path).hand_over(tmp_path / "bundle"))
    (found,) = (one for one in findings if "over their lifetime" in one.claim and one.where == "north")
    assert found.verdict != "confirmed"


@pytest.mark.parametrize(
    "event",
    [
        GaussianSteps(noise_multiplier=1e200, sample_rate=1.0, steps=1),
        GaussianSteps(noise_multiplier=1e-200, sample_rate=1.0, steps=1),
        JointGaussianSteps(noise_multiplier=1e-20, honest=10**300, coordinates=1, steps=1),
        GaussianSteps(noise_multiplier=1e5, sample_rate=0.5, steps=10**10),
    ],
    ids=["much noise", "no noise", "many hospitals", "many steps"],
)
def test_numbers_beyond_what_can_be_computed_are_refused_at_once(event: DpEvent) -> None:
    with pytest.raises(PrivacyError, match=r"beyond what can be computed|are not composed"):
        recompute([event], 1e-5, left=1)


@pytest.mark.parametrize(("dtype", "size"), [("BF16", 2), ("F8_E4M3", 1)])
def test_a_model_of_a_type_that_numpy_lacks_is_not_readable(dtype: str, size: int, tmp_path: Path) -> None:
    path = of_type(tmp_path, dtype, size)
    try:
        read_model_file(path)
    except StorageError as error:
        assert "not a readable model" in str(error)  # noqa: PT017
    hostile = record().with_file("model.safetensors", path.read_bytes())
    assert RELEASED in refuted(hostile.hand_over(tmp_path / "bundle"))


def test_a_model_whose_facts_are_nested_too_deep_is_not_readable(tmp_path: Path) -> None:
    place = tmp_path / "model.safetensors"
    save_file({"model.a": np.zeros(1, np.float32)}, place, metadata={"wardround": "[" * 100_000})
    with pytest.raises(StorageError, match="not a readable model"):
        read_model_file(place)


@pytest.mark.parametrize(
    "error", [OverflowError, ZeroDivisionError, ValueError, TypeError, KeyError, RecursionError]
)
def test_whatever_a_check_ends_in_is_a_finding(error: type[Exception], tmp_path: Path) -> None:
    def fails(case: Case) -> Iterator[Finding]:
        yield from ()
        raise error(case)

    (found,) = guarded("it holds", fails, None)  # type: ignore[arg-type]
    assert found.verdict == "refuted"
    assert error.__name__ in found.found
