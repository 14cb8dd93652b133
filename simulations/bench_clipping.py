"""What clipping every patient costs per step beside plain SGD: an MLP of one hidden layer of 128, one thread.

Run as a process of its own, because peak memory is a process's: `python -m ... SIDE FEATURES BATCH` with side
`plain` or `clipped` does some steps and is watched from outside; `times` lets both take turns and prints milliseconds.
A plain step is the ordinary one: forward, backward, update, with nothing spare. A clipped step is the clipped sum and
the same update; noise comes on top and is measured by `bench_private`. What a site does once is not counted: plain
training has its tensors made, clipped training its patients measured.
"""

import json
import sys
import time
from collections.abc import Callable, Iterable
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from wardround.client.clipping import PatientClipper, measured
from wardround.common.checks import positive
from wardround.common.learning.batches import TensorBatch
from wardround.common.learning.losses import mean_loss
from wardround.common.study.outcomes import ClassOutcome

HIDDEN: Final = 128
SHAPES: Final = ((1_000, 64), (1_000, 500), (5_000, 64), (5_000, 500), (20_000, 64), (20_000, 500))
"""Features, and patients in the step."""
_OUTCOME: Final = ClassOutcome(column="class", classes=("a", "b"), source="benchmark")
_RATE: Final = 0.01


def times(features: int, batch: int, *, repeats: int = 15) -> dict[str, float]:
    """Processor time of steps that take turns two by two, in milliseconds: medians of the second ones.

    The first of two finds the other kind's numbers in the processor's cache; in training no step does.

    Args:
        features: Inputs of the model.
        batch: Patients in the step.
        repeats: Counted steps of each kind.

    Returns:
        `plain_ms`, `double_ms` (plain, in float64) and `clipped_ms`.
    """
    positive(features=features, batch=batch, repeats=repeats)
    patients = _patients(features, batch)
    kinds = {
        "plain_ms": _plain(_model(features), patients),
        "double_ms": _plain(_model(features).double(), _in_float64(patients)),
        "clipped_ms": _clipped(_model(features), patients),
    }
    taken: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(repeats + 1):
        for name, step in kinds.items():
            step()
            begin = time.process_time()
            step()
            taken[name].append(1e3 * (time.process_time() - begin))
    return {name: float(np.median(values[1:])) for name, values in taken.items()}


def _plain(model: nn.Module, patients: TensorBatch) -> Callable[[], None]:
    parameters = list(model.parameters())

    def step() -> None:
        loss = mean_loss(model(patients.inputs), patients, _OUTCOME)
        _update(parameters, torch.autograd.grad(loss, parameters), rate=_RATE)

    return step


def _clipped(model: nn.Module, patients: TensorBatch) -> Callable[[], None]:
    parameters = list(model.parameters())
    clipper, patients = PatientClipper(model, _OUTCOME, clipping_norm=1.0), measured(patients)
    total: list[Tensor] = clipper.sum(patients.take(torch.arange(0)))
    narrow = [part.float() for part in total]

    def step() -> None:
        found = zip(narrow, clipper.sum(patients, into=total), strict=True)
        _update(parameters, (part.copy_(wide) for part, wide in found), rate=_RATE / len(patients))

    return step


def _update(parameters: list[nn.Parameter], gradients: Iterable[Tensor], *, rate: float) -> None:
    with torch.no_grad():
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.add_(gradient, alpha=-rate)


def _model(features: int) -> nn.Module:
    generator = np.random.Generator(np.random.PCG64(2))
    norm = nn.LayerNorm(HIDDEN, elementwise_affine=False)
    model = nn.Sequential(nn.Linear(features, HIDDEN), norm, nn.ReLU(), nn.Linear(HIDDEN, 2))
    with torch.no_grad():
        for parameter in model.parameters():
            draws = generator.standard_normal(parameter.shape, dtype=np.float32)
            parameter.copy_(torch.from_numpy(draws / np.float32(features**0.5)))
    return model


def _patients(features: int, batch: int) -> TensorBatch:
    generator = np.random.Generator(np.random.PCG64(1))
    inputs = torch.from_numpy(generator.standard_normal((batch, features), dtype=np.float32))
    return TensorBatch(inputs=inputs, mask=None, value=(inputs[:, 0] > 0).float(), event=None)


def _in_float64(patients: TensorBatch) -> TensorBatch:
    return TensorBatch(inputs=patients.inputs.double(), mask=None, value=patients.value, event=None)


def main(side: str, features: int, batch: int) -> None:
    """What one process does; `times` prints a JSON object, the other sides an empty one."""
    torch.set_num_threads(1)
    if side == "times":
        print(json.dumps(times(features, batch)))
        return
    step = {"plain": _plain, "clipped": _clipped}[side](_model(features), _patients(features, batch))
    for _ in range(3):
        step()
    print("{}")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
