"""The models: linear, or an MLP; for survival a proportional-hazards head.

All layers are `Linear`, parameter-free `LayerNorm` and `ReLU`: no batch statistics, no buffers, no dropout.
A patient's output depends on that patient only. Starting values are public and the same at every party.

The hazard head is one risk score r per patient (higher = worse) and one trainable baseline b_j per interval:
the logit of the hazard in interval j is r + b_j. Few parameters stand in front of the noise.

Sources: Ba et al. (2016) for layer normalisation; Gensheimer and Narasimhan (2019) for the discrete-time
hazard with proportional hazards.
"""

from collections import OrderedDict
from functools import lru_cache
from typing import Final

import numpy as np
import torch
from torch import nn

from wardround.common.errors import UsageError
from wardround.common.learning.parameters import Parameters
from wardround.common.study.outcomes import Outcome, SurvivalOutcome, output_width
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.terms import ModelTerms

FIRST_HAZARD_LOGIT: Final = -2.0
"""Public start of every interval's baseline: a hazard of 12 percent, nearer to clinics than one half."""


def build(protocol: StudyProtocol, n_inputs: int) -> nn.Sequential:
    """The model of a study with every trainable value zero; fill it with `load_into`.

    Args:
        protocol: The study.
        n_inputs: Width of the feature path, d.

    Returns:
        Maps (..., d) to (..., output_width(outcome)) logits or values; with loss `cox` to (..., 1) risk
        scores. Survival modules are named `risk` and, last, `hazard`.
    """
    return _build(protocol.model, protocol.outcome, n_inputs)


def _build(model: ModelTerms, outcome: Outcome, n_inputs: int) -> nn.Sequential:
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    width = n_inputs
    for number, hidden in enumerate(model.hidden, start=1):
        layers[f"hidden{number}"] = _linear(width, hidden)
        layers[f"norm{number}"] = nn.LayerNorm(hidden, elementwise_affine=False)
        layers[f"relu{number}"] = nn.ReLU()
        width = hidden
    layers.update(_head(model, outcome, width))
    return nn.Sequential(layers)


def _head(model: ModelTerms, outcome: Outcome, width: int) -> dict[str, nn.Module]:
    if not isinstance(outcome, SurvivalOutcome):
        return {"output": _linear(width, output_width(outcome))}
    risk = _linear(width, 1, bias=False)
    if model.loss == "cox":
        return {"risk": risk}
    hazard = _linear(1, output_width(outcome))
    hazard.weight.requires_grad_(False).fill_(1.0)
    return {"risk": risk, "hazard": hazard}


def _linear(width: int, outputs: int, *, bias: bool = True) -> nn.Linear:
    """A zero `Linear` that leaves the process-wide generator as it was: torch draws its own start from there."""
    with torch.random.fork_rng(devices=[]):
        layer = nn.Linear(width, outputs, bias=bias)
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def initial(protocol: StudyProtocol, n_inputs: int) -> Parameters:
    """The public first model.

    Linear models start at zero. In an MLP the weights of each `Linear` are uniform within 1 / sqrt(its
    inputs), from PCG64 seeded with the protocol digest; biases are zero. Baseline hazards start at
    `FIRST_HAZARD_LOGIT`.

    Guarantees:
        The same bytes at every party: it depends on the protocol's digest and the input width only.
    """
    parameters = export(build(protocol, n_inputs))
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


def load_into(module: nn.Module, parameters: Parameters) -> None:
    """Copy values into a module in place.

    Raises:
        UsageError: Names or shapes differ from the module's trainable parameters.
    """
    own = dict(_trainable(module))
    shapes = {name: tuple(value.shape) for name, value in own.items()}
    found = {name: array.shape for name, array in parameters.items()}
    if shapes != found:
        raise UsageError(f"expected layers {shapes}, found {found}")
    for name, value in own.items():
        np.copyto(value.detach().numpy(), parameters[name])


def export(module: nn.Module) -> Parameters:
    """Copies of the trainable values, in module order."""
    return {name: value.detach().numpy().astype(np.float32) for name, value in _trainable(module)}


def moved(module: nn.Module, base: Parameters) -> Parameters:
    """The trainable values minus `base`, in module order."""
    return {name: value.detach().numpy() - base[name] for name, value in _trainable(module)}


def like(protocol: StudyProtocol, n_inputs: int) -> Parameters:
    """Zeros in the names and shapes of a study's model; they take no memory and cannot be written to."""
    shapes = _shapes(protocol.model, protocol.outcome, n_inputs)
    return {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes}


@lru_cache(maxsize=4)
def _shapes(model: ModelTerms, outcome: Outcome, n_inputs: int) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Asked by every site of a simulation; torch needs longer to build a model than a small round takes."""
    return tuple((name, tuple(value.shape)) for name, value in _trainable(_build(model, outcome, n_inputs)))


def _trainable(module: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return [(name, value) for name, value in module.named_parameters() if value.requires_grad]
