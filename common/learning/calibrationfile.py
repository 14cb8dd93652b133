"""`calibration.json`: the noised table of held-out patients that travels beside a released model.

It holds what one private evaluation released, summed over groups: for a class outcome bins of probability by outcome,
one table for each class; for survival bins of the predicted chance of the event by the last horizon, by time and event;
for a number bins of the distance between prediction and truth. Everything in it is public. From it a hospital computes
intervals and prediction sets on its own (see `uncertainty`), and nobody is asked.

The file names protocol and model by digest, and carries a digest of itself. That finds damage and mix-ups; who made it
is said by the study's log, or by whoever handed the digest over.

    {"format": "wardround-calibration", "version": 1, "protocol": ..., "model": ..., "cells": [...], "digest": ...}
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, NoReturn, get_args

import numpy as np
from numpy.typing import NDArray

from wardround.common.durable import write_atomic
from wardround.common.errors import StorageError, TrustError, WardroundError
from wardround.common.formats import canonical, check_header, digest, header
from wardround.common.learning.histograms import Bins
from wardround.common.learning.noisytables import NoisedTable
from wardround.common.study.evaluation import subjects_of
from wardround.common.study.outcomes import ContinuousOutcome, Outcome, SurvivalOutcome
from wardround.common.study.protocol import StudyProtocol

FORMAT: Final = "wardround-calibration"
VERSION: Final = 1
FILE: Final = "calibration.json"
"""Its name, beside `model.safetensors`."""

LARGEST_FILE: Final = 1 << 22  # bytes
_MOST_CELLS: Final = 1 << 14

Origin = Literal["study", "simulation"]
Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What a study released about its model on held-out patients.

    Attributes:
        protocol: Digest of the protocol.
        model: Digest of the model's layers, as the study's log names it.
        table: Binary and classes: shape (subjects, bins, 2), one subject for a binary outcome. Survival:
            (bins, times, 2). Continuous: (bins,).
        bins: Of the score, for each subject: a probability, for survival the chance of the event by the last horizon;
            for a number its distance from the prediction in public standard deviations.
        times: Bins of time, for survival only; the inner edges are horizons.
        epsilon, delta: Of the release, per held-out patient.
        mechanism: Whose noise.
        sites: How many sites' patients are in it.
        origin: `study` if sites released it and charged it; `simulation` if one person held all tables and only
            noised it as a study would.
    """

    protocol: str
    model: str
    table: NoisedTable
    bins: tuple[Bins, ...]
    times: Bins | None = None
    epsilon: float
    delta: float
    mechanism: str
    sites: int
    origin: Origin

    def as_json(self) -> dict[str, object]:
        """The JSON value; numbers are decimal strings, so that the digest does not depend on who wrote them."""
        body = {
            **header(FORMAT, VERSION),
            "protocol": self.protocol,
            "model": self.model,
            "cells": _text(self.table.cells),
            "deviation": repr(float(self.table.deviation)),
            "bins": [_bins_json(each) for each in self.bins],
            "times": None if self.times is None else _bins_json(self.times),
            "epsilon": repr(float(self.epsilon)),
            "delta": repr(float(self.delta)),
            "mechanism": self.mechanism,
            "sites": self.sites,
            "origin": self.origin,
        }
        return {**body, "digest": digest(canonical(body))}

    @property
    def digest(self) -> str:
        """SHA-256 of what it says: what a study that monitors the model names."""
        return str(self.as_json()["digest"])

    def save(self, file: Path) -> None:
        """Write it, replacing an older one atomically."""
        write_atomic(file, canonical(self.as_json()))

    @classmethod
    def load(cls, file: Path) -> "Calibration":
        """Read it.

        Raises:
            StorageError: It cannot be read, is another file, or from a newer release.
            TrustError: It was changed after it was written, or its numbers do not belong together.
        """
        return cls.from_json(_read(file), where=str(file))

    @classmethod
    def from_json(cls, value: Mapping[str, Any], *, where: str) -> "Calibration":
        """What `as_json` wrote. Raises: as `load`; `where` names the place in messages."""
        check_header(value, name=FORMAT, version=VERSION, where=where)
        found = {name: each for name, each in value.items() if name != "digest"}
        if value.get("digest") != digest(canonical(found)):
            raise TrustError(
                f"{where} is not what was written: its digest does not match",
                advice="get it again from whoever released the model, together with the model",
            )
        try:
            return _parsed(found)
        except (KeyError, TypeError, ValueError, AttributeError, WardroundError):
            _refuse(where)

    def check_belongs(self, protocol: StudyProtocol, model: str) -> None:
        """Refuse the calibration of another model.

        Args:
            protocol: That of the model.
            model: Digest of the model's layers.

        Raises:
            TrustError: Protocol, model, or the shape for this outcome differ.
        """
        if self.protocol != protocol.digest:
            raise TrustError(
                f"{FILE} belongs to protocol {self.protocol[:16]}, the model to {protocol.digest[:16]}",
                advice="take model and calibration from one run",
            )
        if self.model != model:
            raise TrustError(
                f"{FILE} belongs to model {self.model[:16]}, this file holds model {model[:16]}",
                advice="one of the two was changed or exchanged; take both from one run",
            )
        self.check_fits(protocol.outcome)

    def check_fits(self, outcome: Outcome) -> None:
        """Refuse a table of another shape than its bins and the outcome have.

        Raises:
            TrustError: It is.
        """
        if len(self.bins) != len(subjects_of(outcome)) or self.table.cells.shape != self._shape(outcome):
            raise TrustError(f"{FILE} does not fit the outcome of the study: {self.table.cells.shape} cells")

    def _shape(self, outcome: Outcome) -> tuple[int, ...]:
        bins = len(self.bins[0])
        if isinstance(outcome, SurvivalOutcome):
            return (bins, 0 if self.times is None else len(self.times), 2)
        if isinstance(outcome, ContinuousOutcome):
            return (bins,)
        return (len(self.bins), bins, 2)


def _read(file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > LARGEST_FILE:
            raise ValueError
        found = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise StorageError(f"{file} is not a readable calibration", advice="get it again, with the model")
    return found


def _parsed(found: dict[str, Any]) -> Calibration:
    cells = np.array(found["cells"], dtype=np.float64)
    numbers = [float(found[name]) for name in ("deviation", "epsilon", "delta")]
    if not (np.isfinite(cells).all() and np.isfinite(numbers).all() and 0 < cells.size <= _MOST_CELLS):
        raise ValueError
    if found["origin"] not in get_args(Origin):
        raise ValueError
    return Calibration(
        protocol=str(found["protocol"]),
        model=str(found["model"]),
        table=NoisedTable(cells=cells, deviation=numbers[0]),
        bins=_subjects(found["bins"]),
        times=None if found["times"] is None else _bins(found["times"]),
        epsilon=numbers[1],
        delta=numbers[2],
        mechanism=str(found["mechanism"]),
        sites=int(found["sites"]),
        origin=found["origin"],
    )


def _refuse(where: str) -> NoReturn:
    raise TrustError(
        f"{where} holds numbers that do not belong together", advice="get it again, with the model"
    ) from None


def _text(values: Numbers) -> object:
    return [_text(each) for each in values] if values.ndim else repr(float(values))


def _bins_json(bins: Bins) -> dict[str, object]:
    return {
        "edges": [repr(float(edge)) for edge in bins.edges],
        "low": repr(float(bins.low)),
        "high": repr(float(bins.high)),
        "source": bins.source,
    }


def _subjects(found: list[dict[str, Any]]) -> tuple[Bins, ...]:
    made = tuple(map(_bins, found))
    if len({len(each) for each in made}) != 1:
        raise ValueError
    return made


def _bins(found: dict[str, Any]) -> Bins:
    edges = tuple(float(edge) for edge in found["edges"])
    return Bins(edges=edges, low=float(found["low"]), high=float(found["high"]), source=str(found["source"]))
