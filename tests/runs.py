"""Small finished runs for the tests of simulations: one table, two studies, and commands in this process.

A finished run takes a second or two, so each kind is made once per process and only read by the tests.
"""

import contextlib
import io
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from wardround.cli import main
from wardround.common.privacy.terms import PrivacyTerms
from wardround.common.study.outcomes import BinaryOutcome, Outcome, SurvivalOutcome
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.schema import Feature
from wardround.common.study.terms import CohortTerms, FederationTerms, InputTerms, SiteTerms, StudyTerms
from wardround.common.study.writer import dumps

PUBLIC = "invented for a test"
SIZES: Mapping[str, int] = {"north": 60, "south": 50, "west": 44, "tiny": 7}
"""Patients per hospital; `tiny` is below the protocol's minimum."""
TAKING_PART = ("north", "south", "west")
WITHOUT_GENES = "west"
"""The hospital that has no expression assay."""
GENES = tuple(f"gene{number}" for number in range(3))

RESPONSE = BinaryOutcome(column="response", positive=("yes",), negative=("no",), source=PUBLIC)
SURVIVAL = SurvivalOutcome(
    time_column="months",
    event_column="status",
    event_values=("dead",),
    censored_values=("alive",),
    unit="months",
    high=120.0,
    cut_points=(6.0, 12.0, 24.0, 48.0),
    source=PUBLIC,
)


def table(sizes: Mapping[str, int] = SIZES, *, seed: int = 5) -> pd.DataFrame:
    """All hospitals' samples as text cells: identifiers with leading zeros, about one patient in four sampled twice."""
    rng = np.random.default_rng(seed)
    codes = iter(rng.choice(9000, sum(sizes.values()), replace=False))
    parts = [_hospital(site, [f"{next(codes):06d}" for _ in range(n)], rng) for site, n in sizes.items()]
    return pd.concat(parts, ignore_index=True)


def _hospital(site: str, patients: list[str], rng: np.random.Generator) -> pd.DataFrame:
    n = len(patients)
    age, genes = rng.normal(60, 10, n), rng.normal(0, 1, (n, len(GENES)))
    score = (age - 60) / 10 + 1.5 * genes[:, 0] + rng.normal(0, 0.7, n)
    frame = pd.DataFrame(
        {
            "patient": patients,
            "hospital": site,
            "age": [f"{value:.3f}" for value in np.clip(age, 20, 100)],
            "sex": rng.choice(["f", "m"], n),
            **{name: [f"{v:.4f}" for v in genes[:, place]] for place, name in enumerate(GENES)},
            "response": np.where(score > 0, "yes", "no"),
            "months": [f"{v:.3f}" for v in np.clip(24 * np.exp(-score) * rng.exponential(1, n), 0.5, 110)],
            "status": np.where(rng.random(n) < 0.7, "dead", "alive"),
        },
        dtype=object,
    )
    if site == WITHOUT_GENES:
        return frame.assign(**dict.fromkeys(GENES, ""))
    again = frame[rng.random(n) < 0.25]
    measured_again = {name: [f"{float(v) + 0.1:.4f}" for v in again[name]] for name in GENES}
    return pd.concat([frame, again.assign(**measured_again)], ignore_index=True)


def study(outcome: Outcome = RESPONSE, **federation: object) -> StudyProtocol:
    """A study of `table()` with mechanism `none`: three rounds, one in four patients held out."""
    terms = {"rounds": 3, "attempts": 2, "learning_rate": 1.0, "local_steps": 2, **federation}
    return StudyProtocol(
        study=StudyTerms(name="small", question="Who responds?", purpose="testing"),
        outcome=outcome,
        features=(
            Feature(
                name="age", kind="continuous", unit="years", low=18, high=105, mean=60, sd=10, source=PUBLIC
            ),
            Feature(name="sex", kind="binary", categories=("f", "m"), source=PUBLIC),
            *(
                Feature(name=name, kind="continuous", modality="expression", low=-9, high=9, source=PUBLIC)
                for name in GENES
            ),
        ),
        cohort=CohortTerms(
            patient_column="patient",
            minimum_patients=20,
            optional_modalities=("expression",),
            test_fraction=0.3,
            subgroups=("sex",),
        ),
        privacy=PrivacyTerms(mechanism="none", source=PUBLIC),
        inputs=InputTerms(norm="unit", source=PUBLIC),
        federation=FederationTerms(**terms),  # type: ignore[arg-type]
    )


def private_study(outcome: Outcome = RESPONSE, **federation: object) -> StudyProtocol:
    """The same study under `site-noise`."""
    noise = PrivacyTerms(mechanism="site-noise", noise_multiplier=4.0, reference_patients=35, source=PUBLIC)
    return study(outcome, **federation).with_privacy(noise)


def joint_study(outcome: Outcome = RESPONSE, *, honest: int = 2, **federation: object) -> StudyProtocol:
    """The same study under `joint-noise`, with one step per round."""
    noise = PrivacyTerms(
        mechanism="joint-noise",
        noise_multiplier=6.0,
        honest_sites=honest,
        reference_patients=35,
        source=PUBLIC,
    )
    return study(outcome, **{"local_steps": 1, **federation}).with_privacy(noise)


def weighted(protocol: StudyProtocol, weights: Mapping[str, float]) -> StudyProtocol:
    """The study with public aggregation weights."""
    sites = tuple(SiteTerms(name=name, weight=weight) for name, weight in weights.items())
    return replace(protocol, federation=replace(protocol.federation, sites=sites))


def write(folder: Path, protocol: StudyProtocol, frame: pd.DataFrame) -> tuple[Path, Path]:
    """`study.toml` and `patients.csv` in a folder, which is made if absent."""
    folder.mkdir(parents=True, exist_ok=True)
    frame.to_csv(folder / "patients.csv", index=False)
    (folder / "study.toml").write_text(dumps(protocol), encoding="utf-8")
    return folder / "study.toml", folder / "patients.csv"


@dataclass(frozen=True, kw_only=True)
class Said:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str


def command(*words: object) -> Said:
    """`wardround WORDS` in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(word) for word in words])
    return Said(code=code, out=out.getvalue(), err=err.getvalue())


def simulate_words(study_path: Path, patients: Path, out: Path, *, cohort: str = "synthetic") -> list[str]:
    """What is typed to simulate imagined hospitals."""
    source = ["--table", str(patients), "--site-column", "hospital", "--cohort", cohort]
    return ["simulate", str(study_path), *source, "--out", str(out)]


def simulate(study_path: Path, patients: Path, out: Path, *more: object, cohort: str = "synthetic") -> Said:
    """`wardround simulate` of imagined hospitals, in this process."""
    return command(*simulate_words(study_path, patients, out, cohort=cohort), *more)


def new_folder() -> Path:
    """A folder that is taken away when the test session ends."""
    return Path(tempfile.mkdtemp(dir=os.environ["XDG_STATE_HOME"]))


@cache
def open_run() -> Path:
    """A finished run without privacy, with a subgroup and a site left out; for reading only."""
    return _finished(study())


@cache
def private_run() -> Path:
    """A finished run under `site-noise`; for reading only."""
    return _finished(private_study())


@cache
def joint_run() -> Path:
    """A finished run under `joint-noise`, two of three hospitals honest; for reading only."""
    return _finished(joint_study())


@cache
def survival_run() -> Path:
    """A finished survival run without privacy, which also leaves each site out in turn; for reading only."""
    return _finished(study(SURVIVAL), "--leave-one-out")


def _finished(protocol: StudyProtocol, *more: object) -> Path:
    folder = new_folder()
    said = simulate(*write(folder, protocol, table()), folder / "run", *more)
    assert said.code == 0, said.err
    return folder / "run"
