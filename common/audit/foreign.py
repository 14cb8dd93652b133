"""What another system's run says of itself: its hyper-parameters and its stated epsilon, as a file or as flags.

One `[[run]]` per run, in TOML or as the same JSON. Only `delta`, the sampling and enough numbers to know noise, rate
and steps are needed; whatever is left out is not judged.

    [[run]]
    name = "hospital A"
    noise_multiplier = 1.1      # or stated_epsilon with accounted_steps, for which it was calibrated
    batch = 4                   # or sample_rate; a rate of batch / records is what most libraries use
    records = 199
    steps = 1500                # or rounds and local_steps
    sampling = "shuffled"       # poisson, shuffled, fixed-size, full-batch
    delta = 1e-3
    stated_epsilon = 1.0
    accountant = "rdp"          # pld, prv, rdp, moments, gdp, clt
    accounted_steps = 750       # where the accountant counted others than were run
    accounted = "run"           # or "round", where every round began a new accountant
    relation = "add-or-remove"  # or "replace-one"
    constants = "public"        # or "records": rate, normaliser or noise follow from the number of records

Source: NIST SP 800-226 (2025) for what a claim must say; Ponomareva et al. (2023), "How to DP-fy ML", section 5.3.
"""

import dataclasses
import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, cast, get_args

from wardround.common.checks import in_range, one_of
from wardround.common.errors import UsageError, WardroundError

Sampling = Literal["poisson", "shuffled", "fixed-size", "full-batch"]
Accountant = Literal["", "pld", "prv", "rdp", "moments", "gdp", "clt"]

SAMPLINGS: Final[tuple[str, ...]] = get_args(Sampling)
ACCOUNTANTS: Final[tuple[str, ...]] = get_args(Accountant)[1:]
LARGEST: Final = 1 << 20
"""Bytes of a file of runs."""

_FLOATS: Final = ("noise_multiplier", "sample_rate", "delta", "stated_epsilon")
_COUNTS: Final = ("batch", "records", "steps", "rounds", "local_steps", "accounted_steps")


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignRun:
    """One run of another system. Zero and the empty string mean: not said.

    Attributes:
        name: For the report.
        source: Where the numbers were published.
        noise_multiplier: Noise standard deviation over clipping norm, of the sum over a batch.
        sample_rate: q, probability of a record per step.
        batch, records: Records per step and in all; their ratio is q where `sample_rate` is not said.
        steps: Noisy steps that were run; else `rounds` times `local_steps`.
        rounds, local_steps: Federated rounds, and noisy steps in each.
        sampling: How the records of a step were chosen.
        delta: Of the claim.
        stated_epsilon: The claim.
        accountant: With which it was computed.
        accounted_steps: Steps that it counted; those that were run where not said.
        accounted: `round` where every round began a new accountant.
        relation: Neighbouring relation of the claim.
        constants: `records` where rate, normaliser or noise were computed from the number of records.
    """

    name: str = "run"
    source: str = ""
    noise_multiplier: float = 0.0
    sample_rate: float = 0.0
    batch: int = 0
    records: int = 0
    steps: int = 0
    rounds: int = 0
    local_steps: int = 0
    sampling: Sampling = "poisson"
    delta: float = 0.0
    stated_epsilon: float = 0.0
    accountant: Accountant = ""
    accounted_steps: int = 0
    accounted: Literal["run", "round"] = "run"
    relation: Literal["add-or-remove", "replace-one"] = "add-or-remove"
    constants: Literal["public", "records"] = "public"

    def __post_init__(self) -> None:
        """Refuse what describes no run.

        Raises:
            UsageError: A number is missing or out of range, or a word is unknown.
        """
        one_of(SAMPLINGS, sampling=self.sampling)
        one_of(("", *ACCOUNTANTS), accountant=self.accountant)
        one_of(("run", "round"), accounted=self.accounted)
        one_of(("add-or-remove", "replace-one"), relation=self.relation)
        one_of(("public", "records"), constants=self.constants)
        for name in (*_FLOATS, *_COUNTS):
            in_range(0, 1e12, **{name: getattr(self, name)})
        if not 0 < self.delta < 1:
            raise UsageError(f"expected 0 < delta < 1 for {self.name!r:.80}, found {self.delta:g}")
        if not self.run_steps:
            raise self._missing("steps, or rounds and local_steps")
        if not 0 < self.rate <= 1:
            raise self._missing("a sample_rate in (0, 1], or batch and records")
        if not (self.noise_multiplier or self.calibrated):
            raise self._missing("a noise_multiplier, or stated_epsilon for which it was calibrated")

    @property
    def rate(self) -> float:
        """The probability q of a record per step."""
        if self.sampling == "full-batch":
            return 1.0
        return self.sample_rate or (min(1.0, self.batch / self.records) if self.records else 0.0)

    @property
    def run_steps(self) -> int:
        """Noisy steps that were run."""
        return self.steps or self.rounds * self.local_steps

    @property
    def counted_steps(self) -> int:
        """Noisy steps that the stated epsilon counts."""
        if self.accounted_steps:
            return self.accounted_steps
        if self.accounted == "round":
            return self.local_steps or max(1, self.run_steps // max(1, self.rounds))
        return self.run_steps

    @property
    def passes(self) -> int:
        """How often a record took part at most, where each pass over shuffled records uses it once."""
        return math.ceil(self.run_steps * self.rate - 1e-9)

    @property
    def calibrated(self) -> bool:
        """Whether the noise must be found from the claim."""
        return not self.noise_multiplier and self.stated_epsilon > 0

    def _missing(self, what: str) -> UsageError:
        return UsageError(f"expected {what} for {self.name!r:.80}", advice="docs/audit.md lists every field")


def read_runs(path: Path) -> list[ForeignRun]:
    """The runs of a TOML or JSON file.

    Raises:
        UsageError: It cannot be read, or a run is not described.
    """
    try:
        data = path.read_bytes()[: LARGEST + 1]
    except OSError as error:
        raise UsageError(f"could not read {path}: {error.strerror or error}") from None
    if len(data) > LARGEST:
        raise UsageError(f"expected at most {LARGEST} bytes in {path}")
    try:
        found = json.loads(data) if path.suffix == ".json" else tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is neither TOML nor JSON: {error!s:.200}") from None
    runs = found.get("run") if isinstance(found, dict) else None
    if not (isinstance(runs, list) and runs and all(isinstance(run, dict) for run in runs)):
        raise UsageError(f"expected at least one [[run]] in {path}")
    return [run_of(run, where=f"{path}, run {number}") for number, run in enumerate(runs, start=1)]


def run_of(found: Mapping[str, object], *, where: str) -> ForeignRun:
    """One run from plain values.

    Raises:
        UsageError: A key is unknown, or a value has the wrong type or range.
    """
    known = {field.name: field.default for field in dataclasses.fields(ForeignRun)}
    if unknown := sorted(found.keys() - known.keys()):
        raise UsageError(
            f"unknown key {unknown[0]!r:.80} in {where}", advice="docs/audit.md lists every field"
        )
    for name, value in found.items():
        if not _has_type_of(known[name], value):
            raise UsageError(f"{name} has the wrong type in {where}")
    try:
        return ForeignRun(**cast("dict[str, Any]", dict(found)))
    except WardroundError as error:
        raise UsageError(f"{where}: {error}", advice=error.advice) from None


def _has_type_of(default: object, value: object) -> bool:
    if isinstance(value, bool):
        return False
    if isinstance(default, float):
        return isinstance(value, int | float) and math.isfinite(value)
    return type(value) is type(default)
