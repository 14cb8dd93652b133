"""Kill real runs at random moments, repeat the same command until it completes, and look at what is left.

    python tests/chaos/run_chaos.py [--kills 50] [--interrupts 6] [--seed N]

Three lanes side by side, a third of the kills each. `private` and `joint`: `--sites`, `site-noise` and `joint-noise`,
three hospitals whose ledgers live on from run to run. `open`: `--table`, mechanism `none`, seeded, so that the model
must equal the uninterrupted one bit for bit. A run is killed one to three times before it may complete. A moment is
drawn from the whole time between a run's claim of its folder and its end; imports, where nothing is at stake, come
before. Exit code 1 on a violation.

Source: the crash acceptance of the study issue; Pillai et al. (2014) for what a crash may leave.
"""

import argparse
import os
import random
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wardround.common.study.protocol import StudyProtocol

ROOT = Path(__file__).resolve().parent.parent.parent
ROUNDS = 20
LONGEST_S = 300.0
CLAIM = "study.toml"
CHECKPOINT = "federation/checkpoint.safetensors"
MESSAGE = "the same command goes on"
SIZES = {"north": 60, "south": 50, "west": 44}


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """One kind of run.

    Attributes:
        name: For the table.
        words: What is typed, given the run folder.
        sites: The folder of the sites' folders, given the run folder.
        folder: Where its runs go.
    """

    name: str
    words: Callable[[Path], list[str]]
    sites: Callable[[Path], Path]
    folder: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a process ended: its exit code, what it printed, and when it claimed its folder, began rounds, and ended."""

    code: int
    err: str
    claimed: float
    began: float
    ended: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """When to send a signal: `delay` seconds after a file of the run folder was written anew."""

    file: str
    delay: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """An uninterrupted run of a lane: its model's bytes, seconds from claim to results, and seconds of its rounds."""

    seconds: float
    rounds: float
    model: bytes

    def moment(self, rng: random.Random) -> Moment:
        """A random moment of such a run."""
        if rng.random() < 0.5:
            return Moment(file=CLAIM, delay=rng.uniform(0, self.seconds))
        return Moment(file=CHECKPOINT, delay=rng.uniform(0, self.rounds))


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One run until it completed: when it was stopped each time (seconds@rounds), and what was wrong."""

    lane: str
    name: str
    stops: tuple[str, ...]
    violations: tuple[str, ...]

    def __str__(self) -> str:
        verdict = "; ".join(self.violations) or "ok"
        return f"{self.lane:9}{self.name:8}{' '.join(self.stops):48} {verdict}"


def start(words: list[str]) -> "subprocess.Popen[str]":
    """The command, as a person would type it."""
    return subprocess.Popen(
        [sys.executable, "-m", "wardround", *words],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def run(
    words: list[str], out: Path, when: Moment | None = None, how: signal.Signals = signal.SIGKILL
) -> Ended:
    """Run the command to its end, or until it gets a signal at a moment."""
    process = start(words)
    claimed = _wait_for(process, out / CLAIM)
    began = 0.0 if when and when.file == CLAIM else _wait_for(process, out / CHECKPOINT)
    if when is not None:
        try:
            process.wait(timeout=when.delay)
        except subprocess.TimeoutExpired:
            process.send_signal(how)
    _, err = process.communicate(timeout=LONGEST_S)
    return Ended(code=process.returncode, err=err, claimed=claimed, began=began, ended=time.time())


def _wait_for(process: "subprocess.Popen[str]", marker: Path) -> float:
    """When a file was written anew, under its old name: a run does so with its protocol and its checkpoint."""
    before, deadline = _identity(marker), time.monotonic() + LONGEST_S
    while _identity(marker) == before and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    return time.time()


def _identity(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except FileNotFoundError:
        return 0, 0
    return found.st_ino, found.st_mtime_ns


def progress(out: Path) -> str:
    """How far a stopped run had come: rounds in its log, or the file that it wrote last."""
    names = {"report.html": "report", "model.safetensors": "model"}
    for name, word in names.items():
        if (out / name).exists():
            return word
    log = out / "federation" / "study-log.jsonl"
    lines = log.read_bytes().count(b"\n") if log.exists() else 0
    return str(max(0, lines - 2)) if lines >= 2 else "begin"


def reference(lane: Lane) -> Reference:
    """Run a lane twice without interruption; the first run of a new home builds caches and takes longer."""
    for name in ("first", "alone"):
        out = lane.folder / name
        ended = run(lane.words(out), out)
        if ended.code:
            sys.exit(f"the uninterrupted {lane.name} run ended with {ended.code}:\n{ended.err}")
    model = out / "model.safetensors"
    rounds = model.stat().st_mtime - ended.began
    seconds = (out / "results.json").stat().st_mtime - ended.claimed
    return Reference(rounds=rounds, seconds=seconds, model=model.read_bytes())


def one_run(
    lane: Lane, name: str, known: Reference, rng: random.Random, how: signal.Signals, stops: int
) -> Row:
    """Stop one run `stops` times at random moments, complete it, examine it."""
    from tests.chaos.examination import examine, open_books

    out = lane.folder / name
    before = {site: len(book.entries) for site, book in open_books(lane.sites(out), {}).items()}
    words = lane.words(out)
    seen: list[str] = []
    wrong: list[str] = []
    while len(seen) < stops and not (out / "results.json").exists():
        ended = run(words, out, known.moment(rng), how)
        if not (out / "results.json").exists():  # else it had completed before it was stopped
            seen.append(f"{ended.ended - ended.claimed:.2f}s@{progress(out)}")
            wrong += _stopped_wrongly(ended, how)
    if not (out / "results.json").exists():
        ended = run(words, out)
        if ended.code != 0:
            wrong.append(f"the repeated command ended with {ended.code}: {ended.err.strip()[-300:]}")
    wrong += examine(out, lane.sites(out), rounds=ROUNDS, crashes=len(seen), before=before)
    if not wrong and lane.name == "open" and (out / "model.safetensors").read_bytes() != known.model:
        wrong.append("the model differs from the uninterrupted one")
    return Row(lane=lane.name, name=name, stops=tuple(seen), violations=tuple(wrong))


def _stopped_wrongly(ended: Ended, how: signal.Signals) -> list[str]:
    if how == signal.SIGKILL:
        return [] if ended.code == -signal.SIGKILL else [f"ended with {ended.code}: {ended.err[-300:]}"]
    if ended.code == 130 and MESSAGE in ended.err and "Traceback" not in ended.err:
        return []
    return [f"after Ctrl-C: exit code {ended.code}, {ended.err.strip()[-300:]!r}"]


def drive(lane: Lane, kills: int, interrupts: int, seed: int) -> list[Row]:
    """All runs of a lane, printed as they complete."""
    known, rng = reference(lane), random.Random(f"{seed} {lane.name}")  # noqa: S311  (moments, not secrets)
    print(f"{lane.name:9}alone    {known.seconds:.2f} s, of which rounds {known.rounds:.2f} s", flush=True)
    rows: list[Row] = []
    for how, wanted, letter in ((signal.SIGINT, interrupts, "c"), (signal.SIGKILL, kills, "k")):
        done = 0
        while done < wanted and len(rows) < 3 * (kills + interrupts):
            stops = min(rng.choice((1, 1, 2, 3)), wanted - done)
            row = one_run(lane, f"{letter}{len(rows) + 1:03d}", known, rng, how, stops)
            done += len(row.stops)
            rows.append(row)
            print(row, flush=True)
    return rows


def lanes(root: Path) -> tuple[Lane, ...]:
    """Write tables and studies."""
    from tests.runs import joint_study, private_study, study, table, write

    adaptive = study(rounds=ROUNDS, local_steps=3, batch_size=8, strategy="fedadam", server_learning_rate=0.1)
    opened, patients = write(root / "open", adaptive, table(SIZES))
    source = ["--table", str(patients), "--site-column", "hospital", "--cohort", "synthetic", "--seed", "5"]
    return (
        with_sites(root, "private", private_study(rounds=ROUNDS, local_steps=1)),
        # A crash ends the open attempt of a secure sum, so that several in one round need as many attempts.
        with_sites(root, "joint", joint_study(rounds=ROUNDS, attempts=5)),
        Lane(
            name="open",
            words=lambda out: ["simulate", str(opened), *source, "--out", str(out)],
            sites=lambda out: out / "sites",
            folder=root / "open" / "runs",
        ),
    )


def with_sites(root: Path, name: str, protocol: "StudyProtocol") -> Lane:
    """A lane over hospitals with folders of their own."""
    from tests.runs import table, write

    study_path, patients = write(root / name, protocol, table(SIZES))
    sites = root / name / "sites"
    split = ["study", "split", "--table", str(patients), "--site-column", "hospital", "--out", str(sites)]
    process = start([*split, "--epsilon-cap", "100000"])
    _, err = process.communicate(timeout=LONGEST_S)
    if process.returncode:
        sys.exit(f"the table could not be split: {err}")
    return Lane(
        name=name,
        words=lambda out: ["simulate", str(study_path), "--sites", str(sites), "--out", str(out)],
        sites=lambda out: sites,
        folder=root / name / "runs",
    )


def main() -> int:
    """Print one line per run and a summary; 1 if anything was lost, uncharged, or different."""
    parser = argparse.ArgumentParser(description="kill real runs at random moments")
    parser.add_argument("--kills", type=int, default=50, metavar="N", help="kill -9 in all (default 50)")
    parser.add_argument("--interrupts", type=int, default=6, metavar="N", help="Ctrl-C in all (default 6)")
    parser.add_argument(
        "--seed", type=int, default=secrets.randbits(32), help="of the moments (default: random)"
    )
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    sys.path.insert(0, str(ROOT))
    # Whoever is started in the background ignores Ctrl-C, and so would every process started from here.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="wardround-chaos-") as folder:
        for variable in ("XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "FLWR_HOME", "MPLCONFIGDIR"):
            os.environ[variable] = str(Path(folder) / variable.lower())
        every = lanes(Path(folder))
        kills, interrupts = (-(-number // len(every)) for number in (options.kills, options.interrupts))
        with ThreadPoolExecutor(len(every)) as pool:
            started = [pool.submit(drive, lane, kills, interrupts, options.seed) for lane in every]
            rows = [row for lane in started for row in lane.result()]
    return summarise(rows, options.kills, options.seed)


def summarise(rows: list[Row], kills: int, seed: int) -> int:
    """The last lines, and the exit code."""
    killed, interrupted = (sum(len(row.stops) for row in rows if row.name[0] == letter) for letter in "kc")
    broken = [row for row in rows if row.violations]
    print(
        f"seed {seed}: {killed} kills and {interrupted} interrupts in {len(rows)} runs; {len(broken)} violations"
    )
    for row in broken:
        print(row)
    return 1 if broken or killed < kills else 0


if __name__ == "__main__":
    sys.exit(main())
