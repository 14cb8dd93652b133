"""Controls of the whole path from table to card: labels that nothing predicts, and labels that one gene predicts.

    python -m wardround.simulations.controls --out docs/results

Seeds, settings and what counts as passed stand in `controls_plan.toml`, which was committed before the first run.
"""

import argparse
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from wardround.common.card.card import FILE_NAME, read_card
from wardround.common.privacy.terms import PrivacyTerms
from wardround.common.study.outcomes import BinaryOutcome
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.schema import Feature
from wardround.common.study.terms import CohortTerms, FederationTerms, StudyTerms
from wardround.common.wording import interval, number
from wardround.simulations.consortium import GENES, MUTATIONS, STAGES, draw_biology, generate
from wardround.simulations.planning import plan
from wardround.simulations.recruitment import from_table
from wardround.simulations.results import Results
from wardround.simulations.run import simulate

PLAN: Final = Path(__file__).with_name("controls_plan.toml")
_SOURCE: Final = "constants of the imagined world, before any patient was drawn"


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """One run.

    Attributes:
        kind: `shuffled` or `planted`.
        mechanism: Of the study.
        seed: Of world, table and labels.
        planted: The gene that predicts the labels; empty if none does.
    """

    kind: str
    mechanism: str
    seed: int
    planted: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a control found: the AUC with its interval, the significant carriers, and the input of the largest share."""

    control: Control
    auc: float
    low: float
    high: float
    carriers: tuple[str, ...]
    largest: str
    seconds: float

    @property
    def covers(self) -> bool:
        """Whether the interval holds .5."""
        return self.low <= 0.5 <= self.high

    @property
    def found(self) -> bool:
        """Whether the planted gene is significant and has the largest share."""
        return self.control.planted in self.carriers and self.largest == self.control.planted


def the_plan() -> dict[str, Any]:
    """Seeds, settings and limits."""
    return tomllib.loads(PLAN.read_text(encoding="utf-8"))


def controls(wanted: dict[str, Any]) -> Iterator[Control]:
    """Every run of the plan, in order."""
    for mechanism in (*wanted["deciding"], *wanted["reported"]):
        most = None if mechanism in wanted["deciding"] else wanted["reported_seeds"]
        for kind in ("shuffled", "planted"):
            for seed in wanted[kind][:most]:
                gene = GENES[np.random.default_rng([seed, 2]).integers(wanted["genes"])]
                planted = gene if kind == "planted" else ""
                yield Control(kind=kind, mechanism=mechanism, seed=seed, planted=planted)


def run_control(control: Control, wanted: dict[str, Any], folder: Path) -> Outcome:
    """Make the table, run the study, read its results and card."""
    start = time.monotonic()
    rng = np.random.default_rng(control.seed)
    biology = draw_biology(rng)
    table = relabelled(generate(rng, biology=biology), control, wanted["effect"])
    table.to_csv(folder / "patients.csv", index=False)
    protocol = study(
        control, wanted, dict(zip(GENES, zip(biology.baseline, biology.spread, strict=True), strict=True))
    )
    out = folder / "run"
    consortium = from_table(
        protocol, folder, folder / "patients.csv", site_column="hospital", out=out, cohort="synthetic", seed=0
    )
    results = simulate(
        plan(protocol, folder, consortium, backend="inline", seed=0, folds=0, leave_one_out="no"), out
    )
    return _outcome(control, results, read_card(out / FILE_NAME), time.monotonic() - start)


def relabelled(table: pd.DataFrame, control: Control, effect: float) -> pd.DataFrame:
    """The table with responses that nothing predicts, or the planted gene alone."""
    rng = np.random.default_rng([control.seed, 1])
    patients = table.drop_duplicates("patient")
    labels = rng.permutation(patients["response"].to_numpy())
    if control.planted:
        gene = patients[control.planted].astype(float)
        odds = effect * ((gene - gene.mean()) / gene.std()).fillna(0.0).to_numpy()
        labels = np.where(rng.random(len(patients)) < 1 / (1 + np.exp(-odds)), "responder", "non-responder")
    by_patient = dict(zip(patients["patient"], labels, strict=True))
    return table.assign(response=table["patient"].map(by_patient))


def study(control: Control, wanted: dict[str, Any], moments: dict[str, tuple[float, float]]) -> StudyProtocol:
    """Clinical features, mutations and some genes; constants are those of the world."""
    terms = dict(wanted["study"])
    share = terms.pop("test_fraction")
    return StudyProtocol(
        study=StudyTerms(name=f"control-{control.kind}", question="Who responds?", purpose="a control"),
        outcome=BinaryOutcome(
            column="response", positive=("responder",), negative=("non-responder",), source=_SOURCE
        ),
        features=tuple(_features(moments, wanted["genes"])),
        cohort=CohortTerms(
            patient_column="patient",
            optional_modalities=("mutation",),
            test_fraction=share,
            subgroups=("sex",),
        ),
        privacy=_privacy(control, wanted),
        federation=FederationTerms(**terms),
    )


def _privacy(control: Control, wanted: dict[str, Any]) -> PrivacyTerms:
    if control.mechanism == "none":
        return PrivacyTerms(mechanism="none", source=_SOURCE)
    return PrivacyTerms(mechanism="joint-noise", source=_SOURCE, **wanted["joint-noise"])


def _features(moments: dict[str, tuple[float, float]], genes: int) -> Iterator[Feature]:
    yield Feature(
        name="age", kind="continuous", unit="years", low=18, high=105, mean=62, sd=11, source=_SOURCE
    )
    yield Feature(name="sex", kind="binary", categories=("female", "male"), mean=0.45, sd=0.5, source=_SOURCE)
    yield Feature(name="stage", kind="categorical", categories=STAGES, source=_SOURCE)
    for name in MUTATIONS:
        yield Feature(name=name, kind="binary", modality="mutation", source=_SOURCE)
    for name in GENES[:genes]:
        mean, sd = moments[name]
        yield Feature(
            name=name,
            kind="continuous",
            modality="expression",
            unit="log2(TPM+1)",
            low=0,
            high=25,
            mean=float(mean),
            sd=float(sd),
            source=_SOURCE,
        )


def _outcome(control: Control, results: Results, card: dict[str, Any], seconds: float) -> Outcome:
    row = next(r for r in results.evaluation if (r.model, r.on, r.metric) == ("federated", "all", "auc"))
    return Outcome(
        control=control,
        auc=row.value,
        low=row.low,
        high=row.high,
        carriers=tuple(each.feature for each in results.carriers if each.significant),
        largest=card["explanation"]["features"][0]["name"],
        seconds=seconds,
    )


def run_all(wanted: dict[str, Any]) -> list[Outcome]:
    """Every run of the plan, each in a folder that is thrown away."""
    found = []
    for control in controls(wanted):
        with tempfile.TemporaryDirectory(prefix="wardround-control-") as folder:
            found.append(run_control(control, wanted, Path(folder)))
        print(f"{control.mechanism} {control.kind} {control.seed}: {found[-1].carriers}", flush=True)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The counts of one mechanism."""

    mechanism: str
    runs: int
    covering: int
    false_carriers: int
    found: int
    beside: int

    def passed(self, wanted: dict[str, Any]) -> bool:
        """Whether the plan's limits are kept."""
        return bool(
            self.covering >= wanted["fewest_intervals"]
            and self.false_carriers <= wanted["most_false_carriers"]
            and self.found >= wanted["fewest_found"]
        )


def verdict(outcomes: Sequence[Outcome], mechanism: str) -> Verdict:
    """Count one mechanism's runs."""
    own = [one for one in outcomes if one.control.mechanism == mechanism]
    shuffled = [one for one in own if one.control.kind == "shuffled"]
    planted = [one for one in own if one.control.kind == "planted"]
    return Verdict(
        mechanism=mechanism,
        runs=len(planted),
        covering=sum(one.covers for one in shuffled),
        false_carriers=sum(bool(one.carriers) for one in shuffled),
        found=sum(one.found for one in planted),
        beside=sum(len(set(one.carriers) - {one.control.planted}) for one in planted),
    )


def page(outcomes: Sequence[Outcome], wanted: dict[str, Any]) -> str:
    """The results page."""
    found = [verdict(outcomes, name) for name in (*wanted["deciding"], *wanted["reported"])]
    head = [
        "# Controls: labels that nothing predicts, and labels that one gene predicts",
        "",
        "Seeds, settings and limits were written down in `simulations/controls_plan.toml` and committed before the",
        "first run. `python -m wardround.simulations.controls --out docs/results` writes this page.",
        "",
        "| mechanism | runs of each kind | AUC intervals with .5 | shuffled studies with a carrier | "
        "planted gene found | other carriers beside it | verdict |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for one in found:
        judged = one.mechanism in wanted["deciding"]
        word = ("passed" if one.passed(wanted) else "FAILED") if judged else "reported only"
        counts = (one.runs, one.covering, one.false_carriers, one.found, one.beside)
        head.append(f"| {one.mechanism} | {' | '.join(map(str, counts))} | {word} |")
    limits = (
        f"Limits: at least {wanted['fewest_intervals']}, at most {wanted['most_false_carriers']}, at least "
        f"{wanted['fewest_found']}. Holm within a study, level .001."
    )
    rows = [
        f"| {one.control.mechanism} | {one.control.kind} | {one.control.seed} | {number(one.auc)} "
        f"{interval(one.low, one.high)} | {one.control.planted} | {one.largest} | {', '.join(one.carriers)} |"
        for one in outcomes
    ]
    table = [
        "| mechanism | labels | seed | AUC [95%] | planted | largest share | significant carriers |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *rows,
    ]
    return "\n".join([*head, "", limits, "", "## Every run", "", *table]) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the plan and write `controls.md`."""
    parser = argparse.ArgumentParser(
        prog="python -m wardround.simulations.controls", description=main.__doc__
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of the page to write, e.g. docs/results"
    )
    given = parser.parse_args(arguments)
    wanted = the_plan()
    text = page(run_all(wanted), wanted)
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "controls.md").write_text(text, encoding="utf-8")
    print(given.out / "controls.md")


if __name__ == "__main__":
    main()
