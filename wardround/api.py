"""The Python API of a researcher: `simulate` a study, `load` what it left behind.

import wardround
run = wardround.simulate("study.toml", table="patients.csv", site_column="hospital", out="runs/first")
run.gains            # one row per hospital: is the joint model better than ours?
run.model.predict_proba(new_patients)
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from wardround.common.learning.released import ReleasedModel
    from wardround.common.study.protocol import StudyProtocol
    from wardround.simulations.results import Results


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A finished run.

    Attributes:
        folder: The run folder.
        results: Everything in `results.json`.
        protocol: The study that was run.
        model: The federated model with its preprocessing.
    """

    folder: Path
    results: "Results"
    protocol: "StudyProtocol"
    model: "ReleasedModel"

    @property
    def report(self) -> Path:
        """The report for a clinician: one self-contained HTML file."""
        return self.folder / "report.html"

    @property
    def card(self) -> "Mapping[str, Any]":
        """The model card, as in `model-card.json`."""
        return _card(self.folder)

    @property
    def evaluation(self) -> "pd.DataFrame":
        """Every model, place and metric, with 95% intervals. Exact, therefore not private."""
        return self.results.frames()["evaluation"]

    @property
    def gains(self) -> "pd.DataFrame":
        """Per hospital and metric: the federated model against the hospital's own, paired."""
        return self.results.frames()["gains"]

    @property
    def epsilon(self) -> "pd.DataFrame":
        """What was spent, per site and adversary, at `results.delta`."""
        return self.results.frames()["epsilon"]

    @property
    def curves(self) -> "pd.DataFrame":
        """The joint model's primary metric by round."""
        return self.results.frames()["curves"]

    @property
    def subgroups(self) -> "pd.DataFrame":
        """The joint model for each declared group of patients; NaN where there were too few to tell."""
        return self.results.frames()["subgroups"]

    @property
    def gaps(self) -> "pd.DataFrame":
        """Each group against all patients, with paired intervals and a verdict."""
        return self.results.frames()["gaps"]

    @property
    def worst_groups(self) -> "pd.DataFrame":
        """For each grouping and metric the group that is served worst."""
        return self.results.frames()["worst_groups"]

    @property
    def calibration(self) -> "pd.DataFrame":
        """Calibration slope, intercept, error and Brier scores by place, group and question."""
        return self.results.frames()["calibration"]

    @property
    def calibration_bins(self) -> "pd.DataFrame":
        """The calibration curves, bin by bin."""
        return self.results.frames()["calibration_bins"]

    @property
    def net_benefit(self) -> "pd.DataFrame":
        """The decision curves, threshold by threshold."""
        return self.results.frames()["net_benefit"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeployedRun:
    """A finished study between real hospitals: nothing in it was measured exactly.

    Attributes:
        folder: The run folder, `DIR/studies/STUDY/run` at the coordinator.
        results: The JSON value of `results.json`.
        protocol: The study that was run.
        model: The federated model with its preprocessing.
    """

    folder: Path
    results: "Mapping[str, Any]"
    protocol: "StudyProtocol"
    model: "ReleasedModel"

    @property
    def card(self) -> "Mapping[str, Any]":
        """The model card, as in `model-card.json`."""
        return _card(self.folder)


def _card(folder: Path) -> "Mapping[str, Any]":
    from wardround.common.card.card import FILE_NAME, read_card

    return read_card(folder / FILE_NAME)


def simulate(
    study: "str | Path",
    *,
    out: str | Path,
    table: str | Path | None = None,
    site_column: str | None = None,
    sites: str | Path | None = None,
    cohort: Literal["private", "public", "synthetic"] = "private",
    backend: Literal["inline", "ray"] = "inline",
    seed: int = 0,
    folds: int = 0,
    leave_one_out: Literal["yes", "no"] = "no",
) -> Run:
    """Simulate a federated study on this machine, or finish an interrupted run of it.

    Args:
        study: Path of `study.toml`.
        out: The run folder.
        table: One table that names a hospital per row; with `site_column`.
        site_column: The column that names the hospital.
        sites: A folder with one sub-folder per hospital, each with its own `site.toml` and ledger.
        cohort: What the patients of `table` are; mechanism `none` needs `public` or `synthetic`.
        backend: `inline`, or `ray` for scale-out.
        seed: Of splits and intervals; of training only with mechanism `none`.
        folds: K for K-fold cross-validation instead of one held-out split; needs `table`.
        leave_one_out: Also train without each hospital in turn.

    Raises:
        WardroundError: Any of its kinds, each with advice.
    """
    from wardround.simulations.planning import consortium_of, load_study, plan
    from wardround.simulations.run import simulate as run_plan

    protocol, folder = load_study(Path(study), seed=seed)
    consortium = consortium_of(
        protocol,
        folder,
        sites=None if sites is None else Path(sites),
        table=None if table is None else Path(table),
        site_column=site_column,
        out=Path(out),
        cohort=cohort,
        seed=seed,
    )
    chosen = plan(
        protocol, folder, consortium, backend=backend, seed=seed, folds=folds, leave_one_out=leave_one_out
    )
    run_plan(chosen, Path(out))
    return load(out)


@overload
def load(run: str | Path) -> Run: ...
@overload
def load(run: str | Path, *, kind: Literal["study"]) -> DeployedRun: ...
def load(run: str | Path, *, kind: Literal["simulation", "study"] = "simulation") -> Run | DeployedRun:
    """Read a finished run.

    Args:
        run: The run folder.
        kind: `simulation`, or `study` for what `wardround server start` left behind.

    Raises:
        StorageError: There is none at this path, it is of the other kind, or was interrupted before its results.
    """
    from wardround.common.learning.released import ReleasedModel
    from wardround.simulations.results import Results
    from wardround.simulations.runfolder import open_run

    if kind == "study":
        return _deployed(Path(run))
    folder = open_run(Path(run))
    model = ReleasedModel.load(folder.model)
    return Run(folder=folder.path, results=Results.load(folder.results), protocol=model.protocol, model=model)


def _deployed(folder: Path) -> DeployedRun:
    from wardround.common.learning.released import ReleasedModel
    from wardround.server.cardfacts import MODEL, read_results

    results = json.loads(read_results(folder))
    model = ReleasedModel.load(folder / MODEL)
    return DeployedRun(folder=folder, results=results, protocol=model.protocol, model=model)
