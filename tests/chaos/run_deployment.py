"""Break a deployment in every way that has a name, then at random, and write down what became of it.

    python tests/chaos/run_deployment.py [--kills 30] [--seed N] [--named EXPRESSION] [--keep FILE] [--page FILE]

Every test that is marked `failure`, each over real processes with TLS and keys; `--named` is an expression for pytest's
`-k`, and `--named none` leaves them out. Beside that, because both mostly wait, at least `--kills` random `kill -9`
(`random_kills`). Every finding goes into `--keep` at once; the same command goes on from there. With `--page` the table
goes into that file, with the digest of the code that it was made from. Exit code 1 if anything failed, or was lost,
uncharged or different.
"""

import argparse
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

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
    parser.add_argument("--keep", type=Path, metavar="FILE", help="findings so far (default: none)")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the table there")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    sys.path.insert(0, str(ROOT))
    from tests.chaos.failure_page import page, report_of
    from tests.chaos.random_kills import counts

    with tempfile.TemporaryDirectory(prefix="wardround-chaos-") as folder:
        findings = (options.keep or Path(folder) / "findings.jsonl").absolute()
        naming = named_failures(options.named, findings)
        random_kills(options.kills, options.seed, findings, Path(folder))
        if naming is not None:
            naming.wait()
        report = report_of(findings)
    if options.page is not None:
        options.page.write_text(page(report), encoding="utf-8")
    print(f"seed {options.seed}: {report.summary}", flush=True)
    return 0 if report.clean and counts(report.rows).total() >= options.kills else 1


def named_failures(expression: str, findings: Path) -> "subprocess.Popen[bytes] | None":
    """Begin to run the tests that are marked `failure`, without those that passed already."""
    if expression == NOWHERE:
        return None
    from tests.chaos.keeping import KEEP, kept

    passed = [one["test"] for one in kept(findings, "named") if one["good"]]
    words = ["-q", "-m", "failure", "-p", "tests.chaos.keeping", "-p", "no:cacheprovider", "tests/deployment"]
    chosen = [*(["-k", expression] if expression else []), *(f"--deselect={test}" for test in passed)]
    command = [sys.executable, "-m", "pytest", *words, *chosen]
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, KEEP: str(findings)})


def random_kills(kills: int, seed: int, findings: Path, folder: Path) -> None:
    """Random kills in one ward, those of earlier findings counted; a line for each study as it completes."""
    from tests.chaos.keeping import keep
    from tests.chaos.random_kills import LANES, assaults, counts, rows_of
    from tests.deployment.wards import ward

    before: Sequence[object] = rows_of(findings)
    left = kills - counts(rows_of(findings)).total()
    if left < 1:
        return
    for variable in ("XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "FLWR_HOME", "MPLCONFIGDIR"):
        os.environ[variable] = str(folder / variable.lower())
    with ward(folder / "ward", LANES["private"]("first")) as made:
        made.up()
        for row in assaults(made, left, seed + len(before)):
            print(row, flush=True)
            keep(findings, "study", row)


if __name__ == "__main__":
    sys.exit(main())
