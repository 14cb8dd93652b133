"""Break the code one line at a time; each fault must turn its named test red.

A test that stays green while the line it guards is wrong guards nothing. Every fault of the `*.toml` files beside
this one is applied in a copy of the checkout, never in the checkout itself, and exactly its one test is run there. Red
means that pytest ran the test and it failed; a copy that cannot be imported is a broken fault, not a caught
one.

    python tests/faults/run_faults.py [--only NAME ...] [--workers 2]

Source: DeMillo, Lipton and Sayward (1978), "Hints on test data selection".
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

ROOT = Path(__file__).resolve().parent.parent.parent
LONGEST_S = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One wrong line, and the test that must notice it.

    Attributes:
        name: Short, for the table and for `--only`.
        file: Where, relative to the checkout.
        old: Exact text; occurs once in the file.
        new: What stands there instead.
        test: Node id of the test that must fail.
        why: What would go wrong in a hospital if nobody noticed.
    """

    name: str
    file: str
    old: str
    new: str
    test: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of a fault: `red` is good, `survived` and `broken` are not."""

    fault: Fault
    word: str
    detail: str


def read_faults() -> list[Fault]:
    """All faults: the files by name, each in its own order."""
    files = sorted((ROOT / "tests/faults").glob("*.toml"))
    texts = [path.read_text(encoding="utf-8") for path in files]
    return [Fault(**entry) for text in texts for entry in tomllib.loads(text)["fault"]]


def copy_tree(to: Path) -> Path:
    """A copy of what git carries or would carry; links stay links, so that they point into the copy."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        source, target = ROOT / name, to / name
        if source.is_symlink() or source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)
    # With these, `wardround` is whole wherever it is found first; without, the editable install would add to the
    # copy's front door the roles of the checkout.
    for role in ("common", "client", "server", "simulations"):
        (to / "wardround" / role).symlink_to(Path("..") / role)
    return to


def run_python(
    copy: Path, *arguments: str, limit: float | None = LONGEST_S
) -> subprocess.CompletedProcess[str]:
    """Run this interpreter so that `wardround` is the copy, for at most `limit` seconds.

    No byte code is written: it would hide a fault of the same length made within the same second.
    """
    environment = {
        **os.environ,
        "PYTHONPATH": str(copy),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "300",
        "WARDROUND_REAL_DATA": os.environ.get("WARDROUND_REAL_DATA", str(ROOT.parent / "shared" / "data")),
    }
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=copy,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=limit,
    )


def run_tests(copy: Path, *tests: str, limit: float | None = LONGEST_S) -> subprocess.CompletedProcess[str]:
    """Run some tests of the copy."""
    quiet = ("-m", "pytest", "-q", "-rfE", "--tb=line", "-p", "no:cacheprovider")
    return run_python(copy, *quiet, *tests, limit=limit)


def check_copy(copy: Path) -> None:
    """Stop unless the copy's code is what its tests import; verdicts would be about other code."""
    show = (
        "import wardround.common.errors as a, wardround.client as b; print(a.__file__, b.__file__, sep='\\n')"
    )
    found = run_python(copy, "-c", show).stdout.splitlines()
    if len(found) != 2 or not all(Path(file).resolve().is_relative_to(copy.resolve()) for file in found):
        sys.exit(f"expected wardround to be imported from {copy}, found {found}")


@contextmanager
def applied(fault: Fault, copy: Path) -> Iterator[None]:
    """The fault, while the block runs."""
    path = copy / fault.file
    sound = path.read_text(encoding="utf-8")
    if sound.count(fault.old) != 1:
        raise LookupError(f"the text occurs {sound.count(fault.old)} times in {fault.file}")
    path.write_text(sound.replace(fault.old, fault.new), encoding="utf-8")
    try:
        yield
    finally:
        path.write_text(sound, encoding="utf-8")


def judge(fault: Fault, copy: Path) -> Verdict:
    """Apply one fault and run its test."""
    try:
        with applied(fault, copy):
            done = run_tests(copy, fault.test)
    except (LookupError, OSError, subprocess.TimeoutExpired) as error:
        return Verdict(fault=fault, word="broken", detail=str(error))
    lines = done.stdout.splitlines()
    failed = [line for line in lines if line.startswith(f"FAILED {fault.test}")]
    errors = [line for line in lines if line.startswith("ERROR")]
    if done.returncode == 1 and failed and not errors:
        return Verdict(fault=fault, word="red", detail=failed[0].partition(" - ")[2])
    if done.returncode == 0:
        return Verdict(fault=fault, word="survived", detail=lines[-1] if lines else "")
    return Verdict(
        fault=fault, word="broken", detail=f"pytest ended with {done.returncode}: {' '.join(errors)}"
    )


def check_sound(copy: Path, faults: list[Fault]) -> None:
    """Stop unless every named test is green before anything is broken."""
    done = run_tests(copy, *dict.fromkeys(fault.test for fault in faults), limit=None)
    print(f"without a fault: {done.stdout.splitlines()[-1] if done.stdout else done.stderr}", flush=True)
    if done.returncode != 0:
        sys.exit(done.stdout + done.stderr)


def judge_all(faults: list[Fault], copies: list[Path]) -> Iterator[Verdict]:
    """All verdicts in the order of the faults; one fault at a time in each copy."""
    free: SimpleQueue[Path] = SimpleQueue()
    for copy in copies:
        free.put(copy)

    def in_a_free_copy(fault: Fault) -> Verdict:
        copy = free.get()
        try:
            return judge(fault, copy)
        finally:
            free.put(copy)

    with ThreadPoolExecutor(len(copies)) as pool:
        yield from pool.map(in_a_free_copy, faults)


def main() -> int:
    """Print one line per fault; 1 if any survived or is broken."""
    parser = argparse.ArgumentParser(description="break the code on purpose and see the tests notice")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="run only these faults")
    parser.add_argument(
        "--workers", type=int, default=2, metavar="N", help="copies in use at once (default 2)"
    )
    options = parser.parse_args()
    faults = [fault for fault in read_faults() if not options.only or fault.name in options.only]
    if not faults:
        parser.error("no fault of that name")
    with tempfile.TemporaryDirectory(prefix="wardround-faults-") as folder:
        copies = [copy_tree(Path(folder) / f"copy-{i}") for i in range(min(options.workers, len(faults)))]
        for copy in copies:
            check_copy(copy)
        check_sound(copies[0], faults)
        verdicts = []
        for verdict in judge_all(faults, copies):
            verdicts.append(verdict)
            print(f"{verdict.word:9}{verdict.fault.name:34}{verdict.detail[:150]}", flush=True)
    caught = sum(verdict.word == "red" for verdict in verdicts)
    print(f"{caught} of {len(verdicts)} faults turned their test red")
    return 0 if caught == len(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
