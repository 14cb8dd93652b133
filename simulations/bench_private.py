"""How much slower a private step is than a plain one: full batch, 20,000 features, one hidden layer of 128.

Both steps start from the same model and the same patients and take turns in one process, so that a busy machine
slows both. The private step is everything a site does: norms, clipped sum, noise, update.
"""

import time
from collections.abc import Callable
from typing import Final

import numpy as np
import torch

from wardround.client.training import LocalTrainer
from wardround.common.checks import positive
from wardround.common.learning.data import PatientRows
from wardround.common.learning.models import initial
from wardround.common.learning.parameters import Parameters
from wardround.common.privacy.randomness import SecureRandom
from wardround.common.privacy.terms import PrivacyTerms
from wardround.common.study.outcomes import ClassOutcome, Targets
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.schema import Feature
from wardround.common.study.terms import CohortTerms, FederationTerms, ModelTerms, StudyTerms

_SOURCE: Final = "benchmark"


def measure(
    *, patients: int = 300, features: int = 20_000, hidden: int = 128, steps: int = 10, repeats: int = 5
) -> dict[str, float]:
    """Time rounds of plain and private steps in turn.

    Args:
        patients: Patients of the imagined site, all in every step.
        features: Inputs of the model.
        hidden: Width of the hidden layer.
        steps: Steps per timed round; what a round costs once is spread over them.
        repeats: Timed rounds of each kind; the median counts.

    Returns:
        `plain_ms` and `private_ms` per step, `ratio` of the two, and `threads`.
    """
    positive(patients=patients, features=features, hidden=hidden, steps=steps, repeats=repeats)
    rows = _rows(patients, features)
    plain, private = (_protocol(mechanism, hidden, steps) for mechanism in ("none", "site-noise"))
    base = initial(private, features)
    kinds = {"plain_ms": _plain(plain, base, rows, steps), "private_ms": _private(private, base, rows)}
    times: dict[str, list[float]] = {name: [] for name in kinds}
    for run in kinds.values():
        run()
    for _ in range(repeats):
        for name, run in kinds.items():
            times[name].append(_milliseconds(run) / steps)
    found = {name: float(np.median(values)) for name, values in times.items()}
    ratio = found["private_ms"] / found["plain_ms"]
    return {**found, "ratio": ratio, "threads": float(torch.get_num_threads())}


def _milliseconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return 1e3 * (time.perf_counter() - start)


def _plain(protocol: StudyProtocol, base: Parameters, rows: PatientRows, steps: int) -> Callable[[], object]:
    trainer = LocalTrainer(protocol, rows, site="bench")
    batches = [np.arange(rows.n_patients)] * steps
    return lambda: trainer.plain(base, batches)


def _private(protocol: StudyProtocol, base: Parameters, rows: PatientRows) -> Callable[[], object]:
    trainer = LocalTrainer(protocol, rows, site="bench")
    return lambda: trainer.private(base, SecureRandom())


def _rows(patients: int, features: int) -> PatientRows:
    generator = np.random.Generator(np.random.PCG64(1))
    inputs = generator.standard_normal((patients, features), dtype=np.float32)
    value = (inputs[:, 0] > 0).astype(np.float64)
    return PatientRows(inputs=inputs, patient=np.arange(patients), targets=Targets(value=value))


def _protocol(mechanism: str, hidden: int, steps: int) -> StudyProtocol:
    noise = PrivacyTerms(mechanism="site-noise", noise_multiplier=4.0, reference_patients=300)
    return StudyProtocol(
        study=StudyTerms(name="bench", question="How long does a step take?", purpose="measurement"),
        outcome=ClassOutcome(column="class", classes=("a", "b"), source=_SOURCE),
        features=(Feature(name="gene", kind="continuous", low=-10, high=10, source=_SOURCE),),
        cohort=CohortTerms(patient_column="patient"),
        privacy=noise if mechanism == "site-noise" else PrivacyTerms(mechanism="none"),
        model=ModelTerms(kind="mlp", hidden=(hidden,)),
        federation=FederationTerms(local_steps=steps, learning_rate=0.01),
    )
