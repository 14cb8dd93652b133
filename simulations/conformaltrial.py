"""Do prediction sets hold the truth as often as declared, at hospitals that the model and the calibration never saw?

    python -m wardround.simulations.conformaltrial --out docs/results

Imagined consortia, drawn from the seeds below, which were written down before the first run. In each, every hospital is
left out once: a model is trained on the others' training patients, their held-out patients calibrate it under the noise
of one private evaluation, and sets are made for three kinds of patients: those that nobody looked at of the same
hospitals, where the promise holds by theorem; all of the left-out hospital, where it does not; and the same again as
if its laboratory read every gene higher by `SHIFT`.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from wardround.client.cohort import Cohort, cohorts_by_site, split
from wardround.common.durable import write_atomic
from wardround.common.formats import digest
from wardround.common.learning.conformal import CoverageFound, coverage_found
from wardround.common.learning.data import PatientRows
from wardround.common.learning.features import FeaturePath
from wardround.common.learning.histograms import PROBABILITY
from wardround.common.learning.loadings import parse_loadings
from wardround.common.learning.predictions import predict
from wardround.common.learning.referencebins import reference_bins
from wardround.common.learning.released import ReleasedModel
from wardround.common.learning.uncertainty import Uncertainty
from wardround.common.privacy.terms import PrivacyTerms
from wardround.common.study.protocol import StudyProtocol
from wardround.simulations.baselines import pooled_rows, train_alone
from wardround.simulations.consortium import GENES, SIZES, draw_biology, generate
from wardround.simulations.demo_studies import studies
from wardround.simulations.heldouttable import EPSILON, PROBABILITIES, simulated_calibration
from wardround.simulations.reference import public_reference

SEEDS: Final = tuple(range(201, 209))
COVERAGES: Final = (0.8, 0.9, 0.95)
LARGER: Final = 3
"""How many times the patients of the default consortium: calibration then has about 900 patients."""
SHIFT: Final = 1.0
"""log2(TPM+1): every gene reads twice as high."""
FIXED, FITTED = "fixed in advance", "where the model answers"
SAME, LEFT_OUT, SHIFTED = "same hospitals", "left-out hospital", "left-out, laboratory shifted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """Coverage at one place: exact, of imagined patients."""

    seed: int
    site: str
    place: str
    bins: str
    found: CoverageFound
    size: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _World:
    protocol: StudyProtocol
    path: FeaturePath
    table: pd.DataFrame


def _world(seed: int) -> _World:
    rng = np.random.default_rng(seed)
    biology = draw_biology(rng)
    reference = public_reference(rng, biology=biology)
    data = reference.loadings.to_csv(lineterminator="\n").encode()
    protocol = studies(reference, loadings_sha256=digest(data))["demo-response"]
    protocol = protocol.with_privacy(PrivacyTerms(mechanism="none", delta=protocol.privacy.delta))
    path = FeaturePath(
        features=protocol.features,
        optional_modalities=protocol.cohort.optional_modalities,
        inputs=protocol.inputs,
        loadings=parse_loadings(data),
    )
    sizes = {site: LARGER * n for site, n in SIZES.items()}
    return _World(protocol=protocol, path=path, table=generate(rng, biology=biology, sizes=sizes))


def trials(seed: int) -> Iterator[Trial]:
    """Every hospital of one world left out once."""
    world = _world(seed)
    ordinary = _cohorts(world, world.table)
    genes = world.table[list(GENES)] + SHIFT
    shifted = _cohorts(world, world.table.assign(**{name: genes[name] for name in GENES}))
    for left in ordinary:
        yield from _left_out(world, ordinary, left, shifted[left], seed)


def _cohorts(world: _World, table: pd.DataFrame) -> dict[str, Cohort]:
    text = table.astype(object).where(table.notna(), np.nan)
    found = cohorts_by_site(world.protocol, text, "hospital", path=world.path)
    return {cohort.site: cohort for cohort in found.cohorts}


def _left_out(
    world: _World, cohorts: dict[str, Cohort], left: str, shifted: Cohort, seed: int
) -> Iterator[Trial]:
    train, calibrate, unseen = [], [], []
    for name, cohort in cohorts.items():
        if name != left:
            first, rest = split(cohort, 0.6, b"training")
            train.append(cohort.rows.take(first))
            half, other = np.array_split(np.random.default_rng(seed).permutation(rest), 2)
            calibrate.append(cohort.rows.take(np.sort(half)))
            unseen.append(cohort.rows.take(np.sort(other)))
    model = train_alone(world.protocol, pooled_rows(train), site="pooled", seed=seed)
    rng = np.random.default_rng([seed, len(left)])
    places = {SAME: pooled_rows(unseen), LEFT_OUT: cohorts[left].rows, SHIFTED: shifted.rows}
    released = ReleasedModel(protocol=world.protocol, parameters=model, path=world.path)
    for name, bins in ((FIXED, PROBABILITY), (FITTED, reference_bins(released, PROBABILITIES))):
        calibration = simulated_calibration(released, calibrate, rng, bins=bins)
        if calibration is None:
            continue
        for coverage in COVERAGES:
            sure = Uncertainty(outcome=world.protocol.outcome, calibration=calibration, coverage=coverage)
            for place, rows in places.items():
                made = predict(world.protocol, model, rows)
                found, size = _measured(sure, made, rows)
                yield Trial(seed=seed, site=left, place=place, bins=name, found=found, size=size)


def _measured(sure: Uncertainty, made: np.ndarray, rows: PatientRows) -> tuple[CoverageFound, float]:
    sets = sure.sets(np.stack([1 - made, made], axis=1))
    if sets is None:
        sets = np.ones((len(made), 2), np.bool_)
    held = sets[np.arange(len(made)), rows.targets.value.astype(np.int64)]
    return coverage_found(held, sure.coverage), float(sets.sum(axis=1).mean())


def page(found: Sequence[Trial]) -> str:
    """The results as Markdown."""
    calibrated = f"epsilon {EPSILON:g}, about {LARGER * sum(SIZES.values()) * 0.24:,.0f} calibration patients"
    lines = [
        "# Coverage of prediction sets at hospitals that were left out",
        "",
        f"Made by `python -m wardround.simulations.conformaltrial`. {len(SEEDS)} imagined consortia of {len(SIZES)} "
        f"hospitals, each left out once; joint noise of one private evaluation ({calibrated}). `Worst` is the lowest "
        "coverage at one hospital of one consortium; `reported` is how often `wardround predict --check-coverage` "
        "would say there that sets are too small, of all hospitals, and of those that miss by more than two points.",
        "",
        "| bins | target | patients | coverage | worst | mean size of a set | reported | misses reported |",
        "|---|--:|---|--:|--:|--:|--:|--:|",
    ]
    keys = dict.fromkeys((one.bins, one.found.declared, one.place) for one in found)
    return "\n".join([*lines, *(_row(found, *key) for key in keys), ""])


def _row(found: Sequence[Trial], bins: str, declared: float, place: str) -> str:
    own = [one for one in found if (one.bins, one.found.declared, one.place) == (bins, declared, place)]
    shares = np.array([one.found.covered / one.found.patients for one in own])
    whole = sum(one.found.covered for one in own) / sum(one.found.patients for one in own)
    below = [one.found.verdict == "below" for one in own]
    missed = shares < declared - 0.02
    said = f"{sum(np.array(below)[missed])} of {missed.sum()}"
    cells = [
        bins, f"{declared:.0%}", place, f"{whole:.1%}", f"{shares.min():.1%}",
        f"{np.mean([one.size for one in own]):.2f}", f"{sum(below)} of {len(own)}", said,
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Run all seeds and write the page."""
    parser = argparse.ArgumentParser(description="coverage of prediction sets at left-out hospitals")
    parser.add_argument("--out", type=Path, required=True, help="folder of the page")
    found = [one for seed in SEEDS for one in trials(seed)]
    write_atomic(parser.parse_args().out / "conformal.md", page(found).encode())


if __name__ == "__main__":
    main()
