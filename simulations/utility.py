"""What privacy costs on real cohorts: joint noise beside central DP-SGD, site noise, no privacy and each site alone.

    python -m wardround.simulations.utility DATA --regions REGIONS.csv --out docs/results

Joint noise and site noise run through the real federation (with more than MOST_MASKED sites joint noise runs without
masks and messages, which changes nothing but the time); central DP-SGD and training without privacy on pooled
patients. All are tested on the same held-out patients, a quarter of every site. Every run is written to
`utility.csv`, the means over runs to `utility.md`.

Assumes the folder of real cohorts beside the checkout, and for regions a table of columns `tss` (hospital code) and
`region`, made from the public table of the GDC's tissue source sites. Nothing here tries to identify anyone.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from wardround.client.tables import read_table
from wardround.common.errors import UsageError
from wardround.common.learning.metrics import evaluate
from wardround.common.learning.parameters import Parameters
from wardround.common.learning.predictions import predict
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.reader import load
from wardround.simulations.baselines import pooled_rows, train_baselines
from wardround.simulations.central import train_centrally, train_unmasked
from wardround.simulations.federation import Federation, run_federation
from wardround.simulations.hospitals import Consortium, Hospital
from wardround.simulations.recruitment import from_table
from wardround.simulations.utility_cases import (
    CASES,
    STUDIES,
    UtilityCase,
    central_noise,
    declared,
    joint_arm,
    plain_arm,
    site_arm,
)
from wardround.simulations.utility_page import page

EPSILONS: Final = (1.0, 3.0, 8.0)
DRAWS: Final = 5
"""Runs per arm, each with other noise."""

MOST_MASKED: Final = 20
"""Sites up to which joint noise runs with messages, signatures and masks: their number grows with its square."""

SEED: Final = 0
SMALLEST: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class UtilityRow:
    """One trained model, measured on all held-out patients together.

    Attributes:
        study: Name of the case.
        sites: K.
        epsilon: NaN without privacy.
        arm: `joint`, `central`, `site`, `none`, `alone` (mean over sites of a site's own model on all held-out
            patients) or `alone at home` (the same on its own held-out patients, where the metric exists).
        draw: Which noise.
        value: The metric.
    """

    study: str
    sites: int
    epsilon: float
    arm: str
    draw: int
    value: float


def utility(case: UtilityCase, data: Path, *, regions: Path | None, folder: Path) -> Iterator[UtilityRow]:
    """Every run of a case, as it ends.

    Args:
        case: The study.
        data: The folder of the real cohorts.
        regions: Table of `tss` and `region`, for a grouping by region.
        folder: Gets the federations' files.

    Raises:
        UsageError: A grouping by region without its table.
    """
    protocol = load(STUDIES / f"{case.study}.toml")
    table = data / case.table if case.grouping == "column" else _by_region(data / case.table, regions, folder)
    hospitals = _recruit(protocol, case, table, folder / "recruits").hospitals
    bench = _Bench(case, protocol, hospitals)
    yield from bench.without_privacy()
    for epsilon in EPSILONS:
        for draw in range(DRAWS):
            yield from bench.with_privacy(epsilon, draw, folder, table)


def _recruit(protocol: StudyProtocol, case: UtilityCase, table: Path, out: Path) -> Consortium:
    column = case.site_column
    return from_table(protocol, STUDIES, table, site_column=column, out=out, cohort="public", seed=SEED)


def _by_region(table: Path, regions: Path | None, folder: Path) -> Path:
    """The table of hospitals with at least SMALLEST rows, with a column `region`."""
    if regions is None:
        raise UsageError("grouping by region needs --regions, a table of hospital codes and regions")
    frame = read_table(table, verbatim=("pid", "tss"))
    known = pd.read_csv(regions, dtype=str, keep_default_na=False).set_index("tss")["region"]
    size = frame["tss"].map(frame["tss"].value_counts())
    frame["region"] = frame["tss"].map(known)
    path = folder / "by-region.csv.gz"
    frame[(size >= SMALLEST) & frame["region"].notna()].to_csv(path, index=False)
    return path


class _Bench:
    """Trains the arms of a case and measures them."""

    def __init__(self, case: UtilityCase, protocol: StudyProtocol, hospitals: Sequence[Hospital]) -> None:
        self._case = case
        self._protocol = protocol
        self._hospitals = hospitals
        self._names = [hospital.name for hospital in hospitals]
        self._training = pooled_rows([hospital.training() for hospital in hospitals])
        self._held_out = pooled_rows([hospital.held_out() for hospital in hospitals])

    def without_privacy(self) -> Iterator[UtilityRow]:
        """Pooled, and each site alone."""
        plain = plain_arm(self._protocol)
        models = train_baselines(plain, {h.name: h.training() for h in self._hospitals}, seed=SEED)
        yield self._row("none", self._measured(models["pooled"]))
        alone = [self._measured(models[f"local:{name}"]) for name in self._names]
        yield self._row("alone", float(np.nanmean(alone)))
        at_home = [self._at_home(models[f"local:{h.name}"], h) for h in self._hospitals]
        yield self._row("alone at home", float(np.nanmean(at_home)))

    def with_privacy(self, epsilon: float, draw: int, folder: Path, table: Path) -> Iterator[UtilityRow]:
        """Joint noise, central DP-SGD and site noise."""
        joint = joint_arm(self._protocol, self._names, epsilon=epsilon)
        arms = {"joint": joint, "site": site_arm(joint, self._names, epsilon=epsilon)}
        for name, protocol in arms.items():
            model = self._federated(protocol, folder / f"{name}-{epsilon:g}-{draw}", table)
            yield self._row(name, self._measured(model), epsilon=epsilon, draw=draw)
        central = train_centrally(
            joint,
            self._training,
            patients=declared(joint, self._names),
            noise_multiplier=central_noise(joint, epsilon=epsilon),
            rng=np.random.default_rng([SEED, draw, int(epsilon)]),
        )
        yield self._row("central", self._measured(central), epsilon=epsilon, draw=draw)

    def _federated(self, protocol: StudyProtocol, out: Path, table: Path) -> Parameters:
        if protocol.joint and len(self._names) > MOST_MASKED:
            return train_unmasked(protocol, {h.name: h.training() for h in self._hospitals})
        consortium = _recruit(protocol, self._case, table, out)
        consortium.move_in()
        return run_federation(
            Federation(
                protocol=protocol,
                hospitals=consortium.hospitals,
                folder=out / "federation",
                archiving="none",
            )
        )

    def _measured(self, model: Parameters) -> float:
        predictions = predict(self._protocol, model, self._held_out)
        return evaluate(self._protocol.outcome, self._held_out.targets, predictions)[self._case.metric]

    def _at_home(self, model: Parameters, hospital: Hospital) -> float:
        rows = hospital.held_out()
        found = evaluate(self._protocol.outcome, rows.targets, predict(self._protocol, model, rows))
        return found.get(self._case.metric, float("nan"))

    def _row(self, arm: str, value: float, *, epsilon: float = float("nan"), draw: int = 0) -> UtilityRow:
        return UtilityRow(
            study=self._case.name,
            sites=len(self._hospitals),
            epsilon=epsilon,
            arm=arm,
            draw=draw,
            value=value,
        )


def run_all(data: Path, *, regions: Path | None, folder: Path, names: Sequence[str]) -> pd.DataFrame:
    """All runs of the named cases, one row each; prints them as they end."""
    rows = []
    for number, case in enumerate(CASES):
        if names and case.name not in names:
            continue
        own = folder / str(number)
        own.mkdir(parents=True, exist_ok=True)
        for row in utility(case, data, regions=regions, folder=own):
            rows.append(asdict(row))
            print(row, file=sys.stderr, flush=True)
    return pd.DataFrame(rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the four studies at epsilon 1, 3 and 8 and write `utility.csv` and `utility.md`."""
    parser = argparse.ArgumentParser(prog="python -m wardround.simulations.utility", description=main.__doc__)
    parser.add_argument("data", type=Path, help="the folder of the real cohorts")
    parser.add_argument("--out", type=Path, required=True, help="folder of the files to write")
    parser.add_argument("--regions", type=Path, help="table of tss and region")
    parser.add_argument("--case", action="append", default=[], help="name of a study (default: all)")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="wardround-utility-") as spare:
        rows = run_all(given.data, regions=given.regions, folder=Path(spare), names=given.case)
    given.out.mkdir(parents=True, exist_ok=True)
    rows.to_csv(given.out / "utility.csv", index=False)
    (given.out / "utility.md").write_text(page(rows), encoding="utf-8")
    print(given.out / "utility.md")


if __name__ == "__main__":
    main()
