"""A released model on new patients: a study of its own over the same hospitals, and what it says of drift.

The sites, the coordinator and the ledgers are those of a deployment. With `--table` the hospitals are those that the
run imagined, with the ledgers and the split that they had then: who trained is not counted, and what was spent stays.

    OUT/study.toml, monitored/   the study, and what it evaluates
    OUT/federation/              the coordinator's key, checkpoint and study log
    OUT/report.md                to be read
    OUT/results.json             written last: its presence means that the evaluation is complete
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from wardround.client.policy import SitePolicy
from wardround.common.durable import write_atomic
from wardround.common.errors import StorageError, UsageError, WardroundError
from wardround.common.formats import canonical, check_header, header, or_null
from wardround.common.learning.calibrationof import calibration_of
from wardround.common.learning.drift import Drift, drift_of
from wardround.common.learning.metrics import evaluate
from wardround.common.learning.monitored import FOLDER, Monitored
from wardround.common.learning.predictions import predict
from wardround.common.learning.released import ReleasedModel
from wardround.common.privacy.accounting import epsilon
from wardround.common.study.outcomes import Targets
from wardround.common.study.protocol import StudyProtocol
from wardround.common.trust.studylog import read_own_log
from wardround.server.coordinator import LOG
from wardround.server.evaluationclaim import evaluation_claim
from wardround.server.evaluationpage import evaluation_section
from wardround.simulations.evaluation import ALL
from wardround.simulations.federation import (
    Federation,
    coordinator_key,
    released_table,
    run_federation,
)
from wardround.simulations.handing import roster_in
from wardround.simulations.hospitals import Consortium, open_ledger
from wardround.simulations.planning import consortium_of
from wardround.simulations.results import Results
from wardround.simulations.runfolder import FORMAT as RUN_FORMAT
from wardround.simulations.runfolder import RunFacts, RunFolder
from wardround.simulations.variants import with_external

FORMAT: Final = "wardround-monitoring"
VERSION: Final = 1
REPORT: Final = "report.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Epsilon in use of a hospital's held-out patients, at its lifetime delta.

    Attributes:
        site: The hospital.
        before, after: This evaluation.
        cap: Its lifetime cap.
        delta: Goes with every epsilon here.
    """

    site: str
    before: float
    after: float
    cap: float
    delta: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """A finished evaluation.

    Attributes:
        drift: The comparison.
        budgets: What it cost whom.
        results: The JSON value of `results.json`.
    """

    drift: Drift
    budgets: tuple[Budget, ...]
    results: Mapping[str, Any]


def hospitals_of(
    run: Path, protocol: StudyProtocol, *, sites: Path | None, table: Path | None, site_column: str | None
) -> tuple[Consortium, int]:
    """The hospitals of a run with their new patients, and the seed of their split.

    Args:
        run: The run that released the model.
        protocol: The study that monitors it.
        sites: The folder of site folders that the run read, each naming its new table; or None.
        table: New patients of hospitals that the run imagined, with `site_column`; or None.
        site_column: The column that names the hospital.

    Raises:
        UsageError: The run imagined its hospitals and these have folders of their own, or the reverse: another key
            would split the patients, and some who trained would be counted.
        CohortError: A table does not fit the study.
    """
    imagined = (run / "sites").is_dir()
    if imagined != (sites is None):
        expected, way = ("imagined its hospitals", "--table") if imagined else ("read real ones", "--sites")
        raise UsageError(
            f"{run} {expected}: only their own folders tell who trained, and what was spent",
            advice=f"give the new patients with {way}, as the run did; hospitals at a distance: --draft",
        )
    seed = _seed(run) if imagined else 0
    source: dict[str, Any] = {"sites": sites, "table": table, "site_column": site_column, "seed": seed}
    found = consortium_of(protocol, run, **source, out=run, cohort="private")
    return with_external(found, protocol), seed


def evaluate_again(
    found: Monitored, protocol: StudyProtocol, consortium: Consortium, *, run: Path, out: Path, seed: int
) -> Watched:
    """Run the study, or finish an interrupted one, and compare.

    Args:
        found: What the run released.
        protocol: The study that monitors it.
        consortium: Hospitals with their new patients.
        run: The run.
        out: Where to write.
        seed: Of the split.

    Raises:
        UsageError: `out` holds something else.
        PolicyRefusal: A hospital's cap or policy refuses; nothing was charged.
        StudyError: All attempts are used up.
    """
    found.check(protocol)
    folder = RunFolder(out)
    folder.claim(_facts(protocol, consortium, seed))
    folder.keep_protocol(protocol, run)
    found.save(out / FOLDER)
    consortium.move_in()
    before = _budgets_before(out, consortium)
    federation = Federation(protocol=protocol, hospitals=consortium.hospitals, folder=out / "federation")
    run_federation(federation)
    table = released_table(federation.folder, protocol)
    if table is None:
        raise StorageError(f"expected a table in {federation.folder}, found none")
    after = calibration_of(protocol, found.model.parameters, table, origin="simulation")
    after.save(folder.calibration)
    ReleasedModel(protocol=protocol, parameters=found.model.parameters, path=found.model.path).save(
        folder.model
    )
    budgets = _budgets(consortium, before)
    results = _results(found, federation, budgets, _exact(found, consortium, run))
    write_atomic(out / REPORT, _page(results).encode())
    write_atomic(folder.results, (json.dumps(results, indent=1, ensure_ascii=False) + "\n").encode())
    drift = drift_of(protocol, found.model.parameters, found.before, after)
    return Watched(drift=drift, budgets=budgets, results=results)


def _facts(protocol: StudyProtocol, consortium: Consortium, seed: int) -> RunFacts:
    return RunFacts(
        protocol=protocol.digest,
        data=consortium.data_digest,
        backend="inline",
        seed=seed,
        folds=0,
        leave_one_out="no",
    )


def _seed(run: Path) -> int:
    """The seed of a run's split.

    Raises:
        UsageError: Every patient trained in some fold.
        StorageError: The folder says nothing of it.
    """
    path = run / "run.json"
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        raise StorageError(f"could not read {path}", advice="give the folder of a finished run") from None
    check_header(found, name=RUN_FORMAT, version=1, where=str(path))
    if found.get("folds"):
        raise UsageError(
            f"{run} was cross-validated: every patient trained in some fold",
            advice="simulate it without --folds; its released model can be evaluated again",
        )
    return int(found["seed"])


def _in_use(consortium: Consortium) -> dict[str, float]:
    """Epsilon that held-out patients of each hospital lost so far, at its lifetime delta."""
    found = {}
    for hospital in consortium.hospitals:
        office = hospital.office()
        with open_ledger(office) as ledger:
            found[hospital.name] = epsilon(ledger.held_out.spent(), office.policy.delta)
    return found


def _budgets_before(out: Path, consortium: Consortium) -> Mapping[str, float]:
    """The same before this evaluation began: noted once, so that a run that goes on says it too."""
    path = out / "before.json"
    if not path.exists():
        write_atomic(path, canonical({site: repr(value) for site, value in _in_use(consortium).items()}))
    return {site: float(value) for site, value in json.loads(path.read_bytes()).items()}


def _budgets(consortium: Consortium, before: Mapping[str, float]) -> tuple[Budget, ...]:
    after = _in_use(consortium)
    policies = {one.name: SitePolicy.load(one.folder / "site.toml") for one in consortium.hospitals}
    return tuple(
        Budget(
            site=site,
            before=before.get(site, math.nan),
            after=after[site],
            cap=policy.held_out_caps["tolerated"],
            delta=policy.delta,
        )
        for site, policy in policies.items()
    )


def _exact(found: Monitored, consortium: Consortium, run: Path) -> dict[str, dict[str, float | None]]:
    """What an exact count of the same patients says, before and now: only a simulation knows it."""
    model = found.model
    parts = [one.held_out() for one in consortium.hospitals]
    made = [predict(model.protocol, model.parameters, rows) for rows in parts]
    now = evaluate(model.protocol.outcome, _joined([rows.targets for rows in parts]), np.concatenate(made))
    try:
        earlier = Results.load(run / "results.json")
    except WardroundError:  # of a study between hospitals, which has no exact numbers
        return {name: {"before": None, "after": or_null(value)} for name, value in now.items()}
    return {
        name: {"before": or_null(earlier.value("federated", ALL, name)), "after": or_null(value)}
        for name, value in now.items()
    }


def _joined(parts: Sequence[Targets]) -> Targets:
    events = [part.event for part in parts if part.event is not None]
    value = np.concatenate([part.value for part in parts])
    return Targets(value=value, event=np.concatenate(events) if events else None)


def _results(
    found: Monitored,
    federation: Federation,
    budgets: tuple[Budget, ...],
    exact: Mapping[str, Mapping[str, float | None]],
) -> dict[str, Any]:
    folder, protocol = federation.folder, federation.protocol
    key = coordinator_key(folder)
    roster, log = roster_in(folder, key), read_own_log(folder / LOG, key.public)
    return {
        **header(FORMAT, VERSION),
        "origin": "simulation",
        "study": protocol.study.name,
        "protocol_digest": protocol.digest,
        "released_by": found.model.protocol.study.name,
        "patients": protocol.monitoring.patients if protocol.monitoring else "",
        "evaluation": evaluation_claim(folder, protocol, roster, log),
        "budget": [asdict(one) for one in budgets],
        "exact": {"private": False, **exact},
    }


def _page(results: Mapping[str, Any]) -> str:
    evaluation = results["evaluation"]
    return (
        "\n\n".join(
            [
                f"# {results['study']}",
                f"The model that {results['released_by']} released, evaluated again. Patients: {results['patients']}. "
                "A simulation.",
                "## On the new patients",
                evaluation_section(evaluation),
            ]
        )
        + "\n"
    )
