"""`kill -9` at random moments, over the processes of a deployment: what `run_deployment` does after the named failures.

One coordinator and two hospitals behind cables. Studies run one after the other: `open`, without privacy and seeded,
whose model must be that of an uninterrupted simulation bit for bit, and `private`, `site-noise`, whose ledgers live on
from study to study. While a study runs, two to five times a process is killed: which one, and when, is drawn. Whoever
supervises it starts it again; `server start` is started again here, as a person would.
"""

import random
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from tests.chaos.deployed import Terms, entries_of, examine_study
from tests.chaos.keeping import kept
from tests.deployment.killing import kill
from tests.deployment.promises import asked, counted
from tests.deployment.wards import Ward

from wardround.common.study.protocol import StudyProtocol

ROUNDS: Final = 8
ATTEMPTS: Final = 12
LONGEST: Final = 900.0  # seconds of one study
PATIENCE: Final = 60.0  # seconds that a round waits for a reply
SPAN: Final = 10.0  # seconds between two kills, at most
TARGETS: Final = ("child", "executor", "SuperNode", "SuperLink", "server start")

_TUPLES: Final = ("kills", "again", "violations")

Draw = Callable[[str], StudyProtocol]
LANES: Final[dict[str, Draw]] = {
    "open": lambda name: asked(name, rounds=ROUNDS, attempts=ATTEMPTS, local_steps=100),
    "private": lambda name: counted(name, rounds=ROUNDS, attempts=ATTEMPTS, local_steps=20, quorum=2),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One study until it completed.

    Attributes:
        name: Its lane and number.
        seed: Of its kills, and of those of the studies before it in the same ward.
        kills: What was killed, each with the round that was open.
        again: Supervisors that gave up and were started again.
        seconds: From its start to its end.
        voids: Attempts that ended without a result.
        extra: Charges beyond the rounds, at the hospital that has most.
        violations: What must not be.
    """

    name: str
    kills: tuple[str, ...]
    again: tuple[str, ...]
    seconds: float
    voids: int
    extra: int
    violations: tuple[str, ...]
    seed: int = 0

    def __str__(self) -> str:
        verdict = "; ".join(self.violations) or "ok"
        struck = ", ".join((*self.kills, *(f"(up again: {one})" for one in self.again)))
        return f"{self.name:12}{self.seconds:5.0f} s  void {self.voids}  extra {self.extra}  {struck:70} {verdict}"


@dataclass(slots=True)
class Assault:
    """The kills of one study.

    Attributes:
        made: Where.
        study: Which.
        rng: Draws targets and moments.
        wanted: How many kills.
        struck: What was killed by now.
        again: Supervisors that gave up and were started again, as systemd does.
    """

    made: Ward
    study: str
    rng: random.Random
    wanted: int
    struck: list[str] = field(default_factory=list)
    again: list[str] = field(default_factory=list)
    next: float = 0.0

    def run(self) -> str:
        """From the start of the study to its end; what was wrong with that, or nothing."""
        process = self.made.start(self.study, limit=PATIENCE)
        deadline = time.monotonic() + LONGEST
        self._draw_moment()
        while (code := process.poll()) != 0:
            if code is not None and self.struck[-1:] != [self._named("server start")]:
                return f"server start ended with {code}: {self.made.said(f'start-{self.study}')[-300:]}"
            if code is not None:
                process = self.made.start(self.study, limit=PATIENCE)
            if time.monotonic() > deadline:
                process.kill()
                return f"not over after {LONGEST:g} s: {self.made.said(f'start-{self.study}')[-300:]}"
            if self._due():
                self._strike(process)
            self._revive()
            time.sleep(0.05)
        return ""

    def _due(self) -> bool:
        log = self.made.server.studies / self.study / "federation" / "study-log.jsonl"
        return len(self.struck) < self.wanted and log.exists() and time.monotonic() >= self.next

    def _draw_moment(self) -> None:
        self.next = time.monotonic() + self.rng.uniform(0, SPAN)

    def _strike(self, process: "subprocess.Popen[bytes]") -> None:
        target = self.rng.choice(TARGETS)
        site = self.rng.choice(sorted(self.made.sites))
        pid = self._pid(target, site, process)
        if pid:
            kill(pid)
            if target == "server start":
                process.wait(timeout=30)
            self.struck.append(self._named(target))
            self._draw_moment()

    def _pid(self, target: str, site: str, process: "subprocess.Popen[bytes]") -> int:
        """The number of a process; 0 if there is none at this moment."""
        match target:
            case "server start":
                return process.pid if process.poll() is None else 0
            case "SuperLink":
                return self.made.pid("hub", "superlink")
            case "child":
                return _child(self.made.pid(site, "executor"))
            case _:
                return self.made.pid(site, target.lower())

    def _named(self, target: str) -> str:
        return f"{target}@{self.made.rounds(self.study) + 1}"

    def _revive(self) -> None:
        for name in ("hub", *self.made.sites):
            if self.made.processes[name].poll() is not None:
                self.again.append(name)
                self.made.launch(name)


def _child(executor: int) -> int:
    path = Path(f"/proc/{executor}/task/{executor}/children")
    try:
        return int((path.read_text(encoding="ascii").split() or ["0"])[0])
    except OSError:
        return 0


def assaults(made: Ward, kills: int, seed: int) -> Iterator[Row]:
    """Studies, one after the other, until so many processes were killed; the ward is up before and after."""
    rng, done, number = random.Random(seed), 0, 0  # noqa: S311  (moments, not secrets)
    while done < kills:
        lane = tuple(LANES)[number % len(LANES)]
        number += 1
        row = one_study(
            made, f"{lane}-{number}", LANES[lane], rng, min(rng.choice((2, 3, 4, 5)), kills - done)
        )
        done += len(row.kills)
        yield replace(row, seed=seed)
        if number > 4 * kills:
            return


def one_study(made: Ward, name: str, draw: Draw, rng: random.Random, kills: int) -> Row:
    """Approve a study, run it under kills, examine it."""
    protocol = draw(name)
    before = {site: entries_of(made, site) for site in made.sites}
    made.agree(protocol)
    assault = Assault(made, name, rng, kills)
    began = time.monotonic()
    failed = assault.run()
    seconds = time.monotonic() - began
    terms = Terms(
        name=name,
        digest=protocol.digest,
        rounds=ROUNDS,
        crashes=len(assault.struck),
        before=before,
        same_model=name.startswith("open"),
    )
    found = examine_study(made, terms) if not failed else None
    return Row(
        name=name,
        kills=tuple(assault.struck),
        again=tuple(assault.again),
        seconds=seconds,
        voids=found.voids if found else 0,
        extra=found.extra if found else 0,
        violations=found.violations if found else (failed,),
    )


def rows_of(findings: Path) -> list[Row]:
    """The studies of earlier findings."""
    return [Row(**one | {name: tuple(one[name]) for name in _TUPLES}) for one in kept(findings, "study")]


def counts(rows: Sequence[Row]) -> Counter[str]:
    """How often each kind of process was killed."""
    return Counter(one.split("@")[0] for row in rows for one in row.kills)
