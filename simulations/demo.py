"""The demo: five simulated hospitals, two studies without privacy and under two mechanisms, and a page that compares.

Everything but the patients is real: the same commands and objects as in a study over hospital tables.
"""

from pathlib import Path

import numpy as np

from wardround.common.errors import UsageError
from wardround.simulations.comparison import comparison_report
from wardround.simulations.demo_studies import file_name, write_demo
from wardround.simulations.planning import load_study, plan
from wardround.simulations.progress import shown
from wardround.simulations.recruitment import from_table
from wardround.simulations.results import Results
from wardround.simulations.run import simulate


def run_demo(out: Path, *, seed: int) -> list[Results]:
    """Generate the consortium and run everything; finished runs of an interrupted demo are kept.

    Args:
        out: Folder of the demo: `data/`, a folder for each run, and `report.html`.
        seed: Of the simulated world.

    Raises:
        UsageError: The folder holds another demo.
    """
    data = out / "data"
    data.mkdir(parents=True, exist_ok=True)
    _claim(out, seed)
    files = write_demo(data, np.random.default_rng(seed), seed=seed)
    runs = []
    for label, paths in files.arms.items():
        for name, path in paths.items():
            folder = out / file_name(name, label)
            runs.append((_run(path, files.table, folder, seed, label), label, folder))
    comparison_report(runs, out)
    return [results for results, _, _ in runs]


def _claim(out: Path, seed: int) -> None:
    mark = out / "seed.txt"
    if mark.exists() and mark.read_text() != str(seed):
        raise UsageError(f"{out} holds a demo with seed {mark.read_text()}", advice="choose another --out")
    mark.write_text(str(seed))


def _run(study: Path, table: Path, folder: Path, seed: int, label: str) -> Results:
    finished = folder / "results.json"
    if finished.exists():
        return Results.load(finished)
    protocol, home = load_study(study, seed=seed)
    consortium = from_table(
        protocol, home, table, site_column="hospital", out=folder, cohort="synthetic", seed=seed
    )
    chosen = plan(protocol, home, consortium, backend="inline", seed=seed, folds=0, leave_one_out="no")
    with shown(f"{protocol.study.name} ({label})") as step:
        return simulate(chosen, folder, step=step)
