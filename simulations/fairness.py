"""What training for fairness brings and costs: the same studies with and without, on the same held-out patients.

    python -m wardround.simulations.fairness --out docs/results [--real DATA]

Two studies. An invented consortium in which the smallest hospital is different: there the outcome follows another gene
as well, which counts for nothing elsewhere. And METABRIC's survival study, whose smallest cohort counts least in the
protocol's public weights. Each is trained plainly, with public weights for a group of patients, and with the worst-site
objective. Differences are paired: the same patients, drawn again together.

Settings were written down here before the first run; none was tuned.
"""

import argparse
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wardround.common.errors import StudyError
from wardround.common.learning.enough import enough
from wardround.common.learning.intervals import percentiles, sample_and_draws
from wardround.common.learning.predictions import predict
from wardround.common.learning.resampled import resampled
from wardround.common.privacy.terms import PrivacyTerms
from wardround.common.study.outcomes import SurvivalOutcome
from wardround.common.study.protocol import StudyProtocol
from wardround.common.wording import METRIC_NAMES, interval, number, signed
from wardround.simulations.baselines import pooled_rows
from wardround.simulations.fairness_cases import Arm, invented, invented_arms, metabric_arms
from wardround.simulations.federation import Federation, run_federation
from wardround.simulations.hospitals import Consortium, Hospital
from wardround.simulations.planning import load_study
from wardround.simulations.recruitment import from_table

SEED: Final = 20260
RESAMPLES: Final = 2000
_STUDIES: Final = Path(__file__).parent / "studies"

_READING: Final = (
    "Read the *worst* rows first: the value for the hospital, and for the group, that is served worst, whichever that",
    "is. Weights help a group that needs another model, and others pay for it. A worst-site objective can do little",
    "where hospitals have about the same loss, and nothing for a group that every hospital has.",
)

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """A metric of some patients in one arm, and against plain training.

    Attributes:
        study, arm: What was trained, and how.
        place: A hospital, a group of patients, all, or the worst of the hospitals or groups.
        metric: Its name.
        value, low, high: With a 95% interval.
        difference, difference_low, difference_high: Minus plain training, paired.
        patients: Held out.
    """

    study: str
    arm: str
    place: str
    metric: str
    value: float
    low: float
    high: float
    difference: float
    difference_low: float
    difference_high: float
    patients: int


def compare(
    protocol: StudyProtocol, folder: Path, table: Path, site_column: str, arms: Sequence[Arm]
) -> list[Effect]:
    """Train each arm and measure all of them on the same held-out patients.

    Args:
        protocol: The study, without fairness terms.
        folder: Where it lies.
        table: Its table.
        site_column: Names the hospital.
        arms: The plain one first.
    """
    made: dict[str, list[Numbers]] = {}
    ids: list[list[str]] = []
    for arm in arms:
        chosen = replace(protocol, fairness=arm.terms)
        with tempfile.TemporaryDirectory(prefix="wardround-fair-") as spare:
            out = Path(spare)
            consortium = from_table(
                chosen, folder, table, site_column=site_column, out=out, cohort="public", seed=0
            )
            consortium.move_in()
            (out / "federation").mkdir()
            model = run_federation(
                Federation(
                    protocol=chosen,
                    hospitals=consortium.hospitals,
                    folder=out / "federation",
                    archiving="none",
                )
            )
            _same_patients(consortium, ids)
            ids = [[h.ids[place] for place in h.test] for h in consortium.hospitals]
            made[arm.name] = [predict(chosen, model, h.held_out()) for h in consortium.hospitals]
    return list(_effects(protocol, consortium, made))


def _same_patients(consortium: Consortium, before: Sequence[Sequence[str]]) -> None:
    now = [[h.ids[place] for place in h.test] for h in consortium.hospitals]
    if before and now != before:
        raise StudyError("the arms held out different patients; their difference would mean nothing")


def _places(hospitals: Sequence[Hospital]) -> Mapping[str, Mapping[str, NDArray[np.int64]]]:
    """Kind of place -> place -> its held-out patients among all."""
    sizes = [len(h.test) for h in hospitals]
    starts = np.cumsum([0, *sizes])
    sites = {h.name: np.arange(starts[i], starts[i + 1]) for i, h in enumerate(hospitals)}
    groups: dict[str, NDArray[np.int64]] = {}
    for column in hospitals[0].held_out_groups():
        values = np.concatenate([h.held_out_groups()[column] for h in hospitals])
        for name in sorted({value for value in values if value is not None}):
            groups[f"{column}: {name}"] = np.flatnonzero(values == name)
    return {"hospital": sites, "group": groups}


def _effects(
    protocol: StudyProtocol, consortium: Consortium, made: Mapping[str, Sequence[Numbers]]
) -> Iterator[Effect]:
    hospitals = consortium.hospitals
    targets = pooled_rows([h.held_out() for h in hospitals]).targets
    metric = "c_index" if isinstance(protocol.outcome, SurvivalOutcome) else "auc"
    kinds = _places(hospitals)
    strata = np.zeros(len(targets), np.int64)
    for number_, own in enumerate(kinds["hospital"].values()):
        strata[own] = number_
    found: dict[tuple[str, str], list[Numbers]] = {}
    judged = {
        place: own
        for places in kinds.values()
        for place, own in places.items()
        if enough(protocol.outcome, targets.take(own))
    }
    rng = np.random.default_rng(SEED)
    for counts in sample_and_draws(strata, RESAMPLES, rng):
        for arm, parts in made.items():
            predictions = np.concatenate(list(parts))
            for place, own in {"all": np.arange(len(targets)), **judged}.items():
                values = resampled(
                    protocol.outcome, targets.take(own), predictions[own], metric, counts[:, own]
                )
                found.setdefault((arm, place), []).append(values)
    draws = {key: np.concatenate(values) for key, values in found.items()}
    for arm in made:
        for kind, places in kinds.items():
            told = [place for place in places if place in judged]
            draws[arm, f"worst {kind}"] = np.min([draws[arm, place] for place in told], axis=0)
    yield from _rows(protocol, metric, draws, {**judged, "all": np.arange(len(targets))})


def _rows(
    protocol: StudyProtocol,
    metric: str,
    draws: Mapping[tuple[str, str], Numbers],
    patients: Mapping[str, NDArray[np.int64]],
) -> Iterator[Effect]:
    for (arm, place), values in draws.items():
        difference = values - draws["plain", place]
        low, high = percentiles(values[1:])
        less, more = percentiles(difference[1:])
        yield Effect(
            study=protocol.study.name,
            arm=arm,
            place=place,
            metric=metric,
            value=float(values[0]),
            low=low,
            high=high,
            difference=float(difference[0]),
            difference_low=less,
            difference_high=more,
            patients=len(patients.get(place, ())),
        )


def page(effects: Sequence[Effect]) -> str:
    """The results page."""
    lines = [
        "# Training for fairness: what it brings, and what it costs",
        "",
        "Each study is trained plainly, with public weights for a group of patients, and with a worst-site objective",
        "(`[fairness]` in `study.toml`); all are measured on the same held-out patients, without privacy. Brackets are",
        "95% intervals of resampled patients, paired for differences. Settings were fixed before the first run, but",
        "for two mistakes of METABRIC's arms (`simulations/fairness_cases.py` names them).",
        "`python -m wardround.simulations.fairness --out docs/results --real ../shared/data` writes this page.",
    ]
    lines += ["", *_READING]
    for study in dict.fromkeys(effect.study for effect in effects):
        rows = [effect for effect in effects if effect.study == study]
        lines += [
            "",
            f"## {study}",
            "",
            f"| where | patients | trained | {METRIC_NAMES[rows[0].metric]} [95%] | minus plain [95%] |",
            "| --- | --- | --- | --- | --- |",
        ]
        order = sorted(
            dict.fromkeys(row.place for row in rows),
            key=lambda place: (not place.startswith("worst"), place != "all"),
        )
        for place in order:
            lines += [_line(row) for row in rows if row.place == place]
    return "\n".join(lines) + "\n"


def _line(row: Effect) -> str:
    against = (
        ""
        if row.arm == "plain"
        else f"{signed(row.difference)} {interval(row.difference_low, row.difference_high)}"
    )
    size = str(row.patients) if row.patients else ""
    return f"| {row.place} | {size} | {row.arm} | {number(row.value)} {interval(row.low, row.high)} | {against} |"


def run_invented() -> list[Effect]:
    """The consortium with a hospital that is different."""
    with tempfile.TemporaryDirectory(prefix="wardround-fair-") as spare:
        protocol, table = invented(np.random.default_rng(SEED), Path(spare))
        return compare(protocol, Path(spare), table, "hospital", invented_arms())


def run_metabric(data: Path) -> list[Effect]:
    """METABRIC's survival study, by the discrete-time hazard: the Cox loss takes no weights of patients."""
    protocol, folder = load_study(_STUDIES / "metabric-survival-private.toml", seed=0)
    protocol = protocol.with_privacy(PrivacyTerms(mechanism="none", source="no privacy: a public cohort"))
    protocol = replace(protocol, federation=replace(protocol.federation, strategy="fedavg"))
    table = data / "metabric_clin_mut" / "patients.csv"
    return compare(protocol, folder, table, "COHORT", metabric_arms())


def main(arguments: Sequence[str] | None = None) -> None:
    """Train with and without, and write `fairness.md`."""
    parser = argparse.ArgumentParser(
        prog="python -m wardround.simulations.fairness", description=main.__doc__
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of the page to write, e.g. docs/results"
    )
    parser.add_argument(
        "--real", type=Path, help="the folder of the real cohorts; without, METABRIC is left out"
    )
    given = parser.parse_args(arguments)
    effects = run_invented()
    if given.real:
        effects += run_metabric(given.real)
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "fairness.md").write_text(page(effects), encoding="utf-8")
    print(given.out / "fairness.md")


if __name__ == "__main__":
    main()
