"""Names, shapes and public starting values of a study's model, with numpy alone.

`models` builds the torch module of the same names and shapes. Whoever has no torch, as an auditor, still knows from
which model the first round of a study must have started.
"""

from functools import lru_cache
from typing import Final

import numpy as np

from wardround.common.learning.parameters import Parameters
from wardround.common.study.outcomes import Outcome, SurvivalOutcome, output_width
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.terms import ModelTerms

FIRST_HAZARD_LOGIT: Final = -2.0
"""Public start of every interval's baseline: a hazard of 12 percent, nearer to clinics than one half."""

Shapes = tuple[tuple[str, tuple[int, ...]], ...]


def initial(protocol: StudyProtocol, n_inputs: int) -> Parameters:
    """The public first model.

    Linear models start at zero. In an MLP the weights of each `Linear` are uniform within 1 / sqrt(its
    inputs), from PCG64 seeded with the protocol digest; biases are zero. Baseline hazards start at
    `FIRST_HAZARD_LOGIT`.

    Args:
        protocol: The study.
        n_inputs: Width of the feature path, d.

    Guarantees:
        The same bytes at every party: it depends on the protocol's digest and the input width only.
    """
    shapes = shapes_of(protocol.model, protocol.outcome, n_inputs)
    parameters = {name: np.zeros(shape, np.float32) for name, shape in shapes}
    if "hazard.bias" in parameters:
        parameters["hazard.bias"][:] = FIRST_HAZARD_LOGIT
    if protocol.model.kind == "linear":
        return parameters
    generator = np.random.Generator(np.random.PCG64(int(protocol.digest, 16)))
    for name, array in parameters.items():
        if name.endswith("weight"):
            draws = generator.random(array.shape, dtype=np.float32)
            array[:] = (2 * draws - 1) / np.float32(np.sqrt(array.shape[1]))
    return parameters


def like(protocol: StudyProtocol, n_inputs: int) -> Parameters:
    """Zeros in the names and shapes of a study's model; they take no memory and cannot be written to."""
    shapes = shapes_of(protocol.model, protocol.outcome, n_inputs)
    return {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes}


@lru_cache(maxsize=4)
def shapes_of(model: ModelTerms, outcome: Outcome, n_inputs: int) -> Shapes:
    """Name and shape of every trainable array, in the order of the model.

    Example:
        >>> from wardround.common.study.outcomes import ContinuousOutcome
        >>> from wardround.common.study.terms import ModelTerms
        >>> age = ContinuousOutcome(column="x", unit="years", low=0, high=1, mean=0, sd=1, source="a")
        >>> shapes_of(ModelTerms(kind="linear"), age, 3)
        (('output.weight', (1, 3)), ('output.bias', (1,)))
    """
    found: list[tuple[str, tuple[int, ...]]] = []
    width = n_inputs
    for number, hidden in enumerate(model.hidden, start=1):
        found += [(f"hidden{number}.weight", (hidden, width)), (f"hidden{number}.bias", (hidden,))]
        width = hidden
    outputs = output_width(outcome)
    if not isinstance(outcome, SurvivalOutcome):
        return (*found, ("output.weight", (outputs, width)), ("output.bias", (outputs,)))
    found.append(("risk.weight", (1, width)))
    return tuple(found) if model.loss == "cox" else (*found, ("hazard.bias", (outputs,)))
