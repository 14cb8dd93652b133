"""Break a deployment in every way that has a name, then at random, and write down what became of it.

    python tests/chaos/run_deployment.py [--kills 30] [--seed N] [--named EXPRESSION] [--page FILE]

Every test that is marked `failure`, each over real processes with TLS and keys; `--named` is an expression for pytest's
`-k`, and `--named none` leaves them out. Beside that, because both mostly wait, at least `--kills` random `kill -9`
(`random_kills`). With `--page` the table goes into that file, with the digest of the code that it was made from. Exit
code 1 if anything failed, or was lost, uncharged or different.
"""

import argparse
import os
import secrets
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.chaos.failure_page import Named
    from tests.chaos.random_kills import Row

ROOT = Path(__file__).resolve().parent.parent.parent
NOWHERE = "none"


def main() -> int:
    """Print one line per failure and per study; 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description="break a deployment, by name and at random")
    parser.add_argument("--kills", type=int, default=30, metavar="N", help="random kill -9 (default 30)")
    parser.add_argument(
        "--seed", type=int, default=secrets.randbits(32), help="of the kills (default: random)"
    )
    parser.add_argument(
        "--named", default="", metavar="EXPRESSION", help=f"which named failures, or {NOWHERE}"
    )
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the table there")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    sys.path.insert(0, str(ROOT))
    from tests.chaos.failure_page import Report, page
    from tests.chaos.random_kills import counts

    began = time.monotonic()
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        breaking = pool.submit(named_failures, options.named)
        killing = pool.submit(random_kills, options.kills, options.seed)
        named, rows = breaking.result(), killing.result()
    report = Report(named=named, rows=rows, seed=options.seed, seconds=time.monotonic() - began)
    if options.page is not None:
        options.page.write_text(page(report), encoding="utf-8")
    killed = counts(rows).total()
    print(f"seed {options.seed}: {report.summary}", flush=True)
    return 0 if report.clean and killed >= options.kills else 1


def named_failures(expression: str) -> Sequence["Named"]:
    """Run the tests that are marked `failure`; a row for each."""
    if expression == NOWHERE:
        return ()
    sys.path.insert(0, str(ROOT))
    from tests.chaos.failure_page import Collector

    collector = Collector()
    words = ["-q", "-m", "failure", "-p", "no:cacheprovider", str(ROOT / "tests" / "deployment")]
    pytest.main([*words, *(["-k", expression] if expression else [])], plugins=[collector])
    return collector.rows


def random_kills(kills: int, seed: int) -> Sequence["Row"]:
    """Random kills in one ward; a row for each study, printed as it completes."""
    if kills < 1:
        return ()
    sys.path.insert(0, str(ROOT))
    from tests.chaos.random_kills import LANES, assaults
    from tests.deployment.wards import ward

    rows = []
    with tempfile.TemporaryDirectory(prefix="wardround-chaos-") as folder:
        for variable in ("XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "FLWR_HOME", "MPLCONFIGDIR"):
            os.environ[variable] = str(Path(folder) / variable.lower())
        with ward(Path(folder) / "ward", LANES["private"]("first")) as made:
            made.up()
            for row in assaults(made, kills, seed):
                print(row, flush=True)
                rows.append(row)
    return rows


if __name__ == "__main__":
    sys.exit(main())
