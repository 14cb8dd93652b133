"""A calibration travels beside its model, and only beside its own."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.studies import small_protocol

from wardround.common.errors import StorageError, TrustError
from wardround.common.formats import canonical, digest
from wardround.common.learning.calibrationfile import LARGEST_FILE, Calibration
from wardround.common.learning.histograms import PROBABILITY
from wardround.common.learning.noisytables import NoisedTable

PROTOCOL = small_protocol()


def calibration() -> Calibration:
    cells = np.random.default_rng(1).normal(20, 3, (1, len(PROBABILITY), 2))
    return Calibration(
        protocol=PROTOCOL.digest,
        model="a" * 64,
        table=NoisedTable(cells=cells, deviation=2.5),
        bins=(PROBABILITY,),
        epsilon=3.0,
        delta=1e-5,
        mechanism="joint-noise",
        sites=4,
        origin="study",
    )


def test_it_reads_back_to_the_last_digit(tmp_path: Path) -> None:
    written = calibration()
    written.save(tmp_path / "calibration.json")
    read = Calibration.load(tmp_path / "calibration.json")
    assert (read.table.cells == written.table.cells).all()
    assert read.as_json() == written.as_json()
    read.check_belongs(PROTOCOL, "a" * 64)


def changed(file: Path, change: Callable[[dict[str, object]], None], *, redo: str = "no") -> None:
    found = json.loads(file.read_bytes())
    change(found)
    if redo == "yes":
        found.pop("digest")
        found["digest"] = digest(canonical(found))
    file.write_bytes(canonical(found))


@pytest.mark.parametrize("name", ["cells", "deviation", "epsilon", "model", "bins", "origin"])
def test_a_changed_field_is_found(tmp_path: Path, name: str) -> None:
    file = tmp_path / "calibration.json"
    calibration().save(file)
    changed(file, lambda found: found.update({name: "0.5"}))
    with pytest.raises(TrustError, match="digest does not match"):
        Calibration.load(file)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cells", [["nan", "1.0"]]),
        ("cells", []),
        ("cells", "x"),
        ("deviation", "0.0"),
        ("deviation", "inf"),
        ("bins", [{"edges": ["0.5", "0.4"], "low": "0.0", "high": "1.0", "source": "s"}]),
        ("bins", [{"edges": ["0.5"], "low": "1.0", "high": "0.0", "source": "s"}]),
        ("bins", [{"edges": e, "low": "0.0", "high": "1.0", "source": "s"} for e in (["0.5"], [])]),
        ("bins", []),
        ("bins", None),
        ("origin", "rumour"),
        ("sites", None),
    ],
)
def test_numbers_that_cannot_be_meant_are_refused_though_the_digest_fits(
    tmp_path: Path, name: str, value: object
) -> None:
    file = tmp_path / "calibration.json"
    calibration().save(file)
    changed(file, lambda found: found.update({name: value}), redo="yes")
    with pytest.raises(TrustError, match="do not belong together"):
        Calibration.load(file)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"[" * 100_000, b"\xff", b" " * (LARGEST_FILE + 1)])
def test_what_is_no_calibration_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "calibration.json"
    file.write_bytes(content)
    with pytest.raises(StorageError, match="not a readable calibration"):
        Calibration.load(file)


def test_that_of_another_model_protocol_or_outcome_is_refused() -> None:
    own = calibration()
    with pytest.raises(TrustError, match="belongs to model"):
        own.check_belongs(PROTOCOL, "b" * 64)
    with pytest.raises(TrustError, match="belongs to protocol"):
        own.check_belongs(small_protocol(rounds=3), "a" * 64)
    wide = replace(own, table=NoisedTable(cells=np.ones((2, len(PROBABILITY), 2)), deviation=1.0))
    with pytest.raises(TrustError, match="does not fit the outcome"):
        wide.check_belongs(PROTOCOL, "a" * 64)
    with pytest.raises(TrustError, match="does not fit the outcome"):
        replace(own, bins=(PROBABILITY, PROBABILITY)).check_belongs(PROTOCOL, "a" * 64)


def test_groups_are_summed_and_so_is_the_variance_of_their_noise() -> None:
    crossed = NoisedTable(cells=np.arange(24.0).reshape(2, 3, 4), deviation=1.5)
    whole = crossed.over((2,))
    assert (whole.cells == crossed.cells.sum(axis=2)).all()
    assert whole.deviation == 3.0
