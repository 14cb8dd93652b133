"""`wardround bench`: how far the framework is from the floor, as ratios measured in one go.

Machines are noisy and shared, so every figure is a pair run in turn, and the median ratio counts. Whole processes
are timed from outside, with the operating system's own account of time and peak memory.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from wardround.common.checks import positive
from wardround.common.errors import StudyError

SITES = (4, 64)


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchRow:
    """One comparison.

    Attributes:
        name: What was measured.
        ours: Median of the framework, in `unit`.
        floor: Median of the plain loop, in `unit`.
        ratio: Median of the paired ratios.
        limit: The largest ratio that the project accepts.
        unit: `s`, `ms` or `MiB`.
    """

    name: str
    ours: float
    floor: float
    ratio: float
    limit: float
    unit: str

    def __str__(self) -> str:
        verdict = "ok" if self.ratio <= self.limit else "OVER"
        return (
            f"{self.name:<58} ours {self.ours:9.2f} {self.unit:<3} floor {self.floor:9.2f} {self.unit:<3} "
            f"ratio {self.ratio:5.2f} (limit {self.limit:.2f}) {verdict}"
        )

    def as_json(self) -> dict[str, object]:
        """The row for `--json`."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Process:
    wall: float
    mib: float
    said: dict[str, Any]


def run_benchmarks(*, repeats: int) -> list[BenchRow]:
    """All comparisons.

    Args:
        repeats: Measured pairs of each, after one warm-up pair.
    """
    positive(repeats=repeats)
    rows = [row for sites in SITES for row in _overhead(sites, repeats)]
    # What runs in this process comes last: a child's peak memory counts from that of its parent.
    rows += [*_clipping(repeats), _private_step(repeats)]
    return [
        *rows,
        _integer_noise(repeats),
        *_secure_sum(repeats),
        *_exchange(repeats),
        _predict(repeats),
    ]


def _overhead(sites: int, repeats: int) -> list[BenchRow]:
    pairs = [(_spawn("ours", sites), _spawn("plain", sites)) for _ in range(repeats + 1)][1:]
    for ours, plain in pairs:
        _check_same(ours.said["sums"], plain.said["sums"])
    limit = 1.3 if sites <= SITES[0] else 1.5
    label = f"{sites} sites, 300 patients, MLP 1000-128-2, 10 rounds"
    return [
        _row(f"{label}, whole process", [(a.wall, b.wall) for a, b in pairs], limit, "s"),
        _row(f"{label}, training", [(a.said["seconds"], b.said["seconds"]) for a, b in pairs], limit, "s"),
        _row(f"{label}, peak memory", [(a.mib, b.mib) for a, b in pairs], limit, "MiB"),
    ]


def _row(name: str, pairs: Sequence[tuple[float, float]], limit: float, unit: str) -> BenchRow:
    return BenchRow(
        name=name,
        ours=statistics.median(a for a, _ in pairs),
        floor=statistics.median(b for _, b in pairs),
        ratio=statistics.median(a / b for a, b in pairs),
        limit=limit,
        unit=unit,
    )


def _spawn(side: str, *numbers: int, module: str = "bench_overhead") -> _Process:
    command = [sys.executable, "-m", f"wardround.simulations.{module}", side, *map(str, numbers)]
    begin = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"})  # noqa: S603
    said = child.stdout.read() if child.stdout else b""
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.perf_counter() - begin
    if status:
        raise StudyError(f"the benchmark process {side} failed with status {status}")
    return _Process(wall=wall, mib=usage.ru_maxrss / 1024, said=json.loads(said))


def _check_same(ours: dict[str, float], plain: dict[str, float]) -> None:
    """The comparison means something only if both sides trained the same model."""
    for name, value in plain.items():
        if abs(ours[name] - value) > 1e-4 * abs(value):
            raise StudyError(f"layer {name}: the framework and the plain loop trained different weights")


def _private_step(repeats: int) -> BenchRow:
    from wardround.simulations.bench_private import measure

    found = measure(repeats=repeats)
    return BenchRow(
        name="private full-batch step, 20,000 features x 128",
        ours=found["private_ms"],
        floor=found["plain_ms"],
        ratio=found["ratio"],
        limit=4.0,
        unit="ms",
    )


def _clipping(repeats: int) -> list[BenchRow]:
    """A clipped step, without its noise, beside plain SGD in float32 and in float64; and peak memory."""
    from wardround.simulations.bench_clipping import HIDDEN, SHAPES

    rows = []
    for features, batch in SHAPES:
        runs = {
            side: [_spawn(side, features, batch, module="bench_clipping") for _ in range(repeats)]
            for side in ("times", "plain", "clipped")
        }
        label = f"clipped step, {features:,} features x {HIDDEN}, batch {batch}"
        for kind, floor in (("", "plain_ms"), (", float64 floor", "double_ms")):
            pairs = [(run.said["clipped_ms"], run.said[floor]) for run in runs["times"]]
            rows.append(_row(label + kind, pairs, 2.0, "ms"))
        peaks = [(a.mib, b.mib) for a, b in zip(runs["clipped"], runs["plain"], strict=True)]
        rows.append(_row(f"{label}, peak memory", peaks, 1.2, "MiB"))
    return rows


def _integer_noise(repeats: int) -> BenchRow:
    from wardround.simulations.bench_noise import measure

    found = measure(repeats=repeats)
    return BenchRow(
        name="integer noise of a secure sum, a million values",
        ours=found["noise_ms"],
        floor=found["plain_ms"],
        ratio=found["ratio"],
        limit=4.0,
        unit="ms",
    )


def _secure_sum(repeats: int) -> list[BenchRow]:
    from wardround.simulations.bench_securesum import BUDGET_S, measure

    found = measure(repeats=repeats)
    label = "secure sum of 20 sites, 10 million values"
    size = found["upload_mib"] / found["float32_mib"]
    kinds = (
        ("a site's processor", found["site_s"], BUDGET_S, found["site_s"] / BUDGET_S, 1.0, "s"),
        ("upload", found["upload_mib"], found["float32_mib"], size, 1.01, "MiB"),
        ("masks", found["masks_ms"], found["flower_ms"], found["ratio"], 1 / 8, "ms"),
    )
    return [
        BenchRow(name=f"{label}, {kind}", ours=ours, floor=floor, ratio=ratio, limit=limit, unit=unit)
        for kind, ours, floor, ratio, limit, unit in kinds
    ]


def _exchange(repeats: int) -> list[BenchRow]:
    """An exchange between real processes: against its budget, and beside bytes, signatures and a fork."""
    from wardround.simulations.bench_exchange import BUDGET_S

    found = _spawn(str(max(repeats, 5)), module="bench_exchange").said
    label = "exchange of a million parameters, 2 hospitals, beyond training"
    ours = found["exchange_s"]
    return [
        BenchRow(name=f"{label}, {kind}", ours=ours, floor=floor, ratio=ours / floor, limit=limit, unit="s")
        for kind, floor, limit in (("budget", BUDGET_S, 1.0), ("floor", found["floor_s"], 25.0))
    ]


def _predict(repeats: int) -> BenchRow:
    """A hospital's table, with every check, beside reading it at once and a plain forward pass."""
    pairs = _spawn(str(repeats), module="bench_predict").said["pairs"]
    return _row("predict for 20,000 patients x 1,000 features, from Parquet", pairs, 10.0, "s")
