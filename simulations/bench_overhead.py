"""What the framework costs beside a plain torch loop with the same arithmetic: one process each, run in turn.

`python -m wardround.simulations.bench_overhead ours 4` trains through Flower, envelopes, ledgers and checkpoints;
`plain 4` is the loop that a careful researcher would write: same data, same batches, same order of sums. Each prints
one JSON line with the digest of the final weights, which must be equal, and the seconds spent after imports.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from wardround.common.learning.parameters import Parameters
    from wardround.common.study.protocol import StudyProtocol

ROUNDS = 10
PATIENTS = 300
GENES = 1000
HIDDEN = 128
BATCH = 32
STEPS = 10  # local steps per round: one epoch of 300 patients in batches of 32
RATE = 0.05
SEED = 1

Site = tuple[NDArray[np.float32], NDArray[np.float64]]


def data(sites: int) -> dict[str, Site]:
    """Random inputs and classes, the same in both processes."""
    rng = np.random.default_rng(SEED)
    return {
        f"site-{number:02d}": (
            rng.standard_normal((PATIENTS, GENES), dtype=np.float32),
            rng.integers(0, 2, PATIENTS).astype(np.float64),
        )
        for number in range(sites)
    }


def protocol_of() -> "StudyProtocol":
    """The study of this measurement: MLP 1000-128-2 on a public cohort, no privacy."""
    from wardround.common.privacy.terms import PrivacyTerms
    from wardround.common.study.outcomes import ClassOutcome
    from wardround.common.study.protocol import StudyProtocol
    from wardround.common.study.schema import Feature
    from wardround.common.study.terms import CohortTerms, FederationTerms, ModelTerms, StudyTerms

    return StudyProtocol(
        study=StudyTerms(name="overhead", question="-", purpose="benchmark on random numbers"),
        outcome=ClassOutcome(column="y", classes=("a", "b"), source="benchmark"),
        features=tuple(
            Feature(name=f"g{i}", kind="continuous", low=-9, high=9, source="benchmark") for i in range(GENES)
        ),
        cohort=CohortTerms(patient_column="patient"),
        privacy=PrivacyTerms(mechanism="none"),
        model=ModelTerms(kind="mlp", hidden=(HIDDEN,)),
        federation=FederationTerms(rounds=ROUNDS, local_steps=STEPS, batch_size=BATCH, learning_rate=RATE),
        seed=SEED,
    )


def ours(sites: int) -> "Parameters":
    """Through the whole framework, in a throw-away folder."""
    from wardround.common.learning.data import PatientRows
    from wardround.common.study.outcomes import Targets
    from wardround.simulations.federation import Federation, run_federation
    from wardround.simulations.hospitals import Hospital, imagine

    everybody = np.arange(PATIENTS)
    with tempfile.TemporaryDirectory() as folder:
        hospitals = [
            Hospital(
                name=name,
                folder=imagine(Path(folder), name, table=Path("none"), cohort="synthetic", delta=1e-5),
                rows=PatientRows(inputs=inputs, patient=everybody, targets=Targets(value=value)),
                groups={},
                train=everybody,
                test=everybody[:0],
                ids=(),
            )
            for name, (inputs, value) in data(sites).items()
        ]
        return run_federation(
            Federation(protocol=protocol_of(), hospitals=hospitals, folder=Path(folder) / "federation")
        )


def plain(sites: int) -> "Parameters":
    """The loop without a framework."""
    import torch
    from torch.nn.functional import cross_entropy

    from wardround.client.training import seeded_batches
    from wardround.common.learning.models import build, export, initial, load_into

    protocol = protocol_of()
    module = build(protocol, GENES)
    tensors = {
        name: (torch.from_numpy(x), torch.from_numpy(y).long()) for name, (x, y) in data(sites).items()
    }
    model = initial(protocol, GENES)
    for number in range(1, ROUNDS + 1):
        total = {name: np.zeros(value.shape) for name, value in model.items()}
        for site, (inputs, classes) in tensors.items():
            load_into(module, model)
            for batch in seeded_batches(protocol, PATIENTS, seed=SEED, site=site, round_=number):
                chosen = torch.from_numpy(batch)
                loss = cross_entropy(module(inputs[chosen]), classes[chosen])
                gradients = torch.autograd.grad(loss, list(module.parameters()))
                with torch.no_grad():
                    for parameter, gradient in zip(module.parameters(), gradients, strict=True):
                        parameter.add_(gradient, alpha=-RATE)
            for name, value in export(module).items():
                total[name] += (value - model[name]) / sites
        model = {name: (value + total[name]).astype(np.float32) for name, value in model.items()}
    return model


def main() -> None:
    """Run one side and print one JSON line."""
    import torch

    torch.set_num_threads(1)
    side, sites = sys.argv[1], int(sys.argv[2])
    begin = time.perf_counter()
    model = {"ours": ours, "plain": plain}[side](sites)
    seconds = time.perf_counter() - begin
    sums = {name: float(np.abs(value).astype(np.float64).sum()) for name, value in model.items()}
    print(json.dumps({"seconds": seconds, "sums": sums}))


if __name__ == "__main__":
    main()
