"""The models: linear, or an MLP; for survival a proportional-hazards head.

All layers are `Linear`, parameter-free `LayerNorm` and `ReLU`: no batch statistics, no buffers, no dropout.
A patient's output depends on that patient only. Starting values are public: see `firstmodel`.

The hazard head is one risk score r per patient (higher = worse) and one trainable baseline b_j per interval:
the logit of the hazard in interval j is r + b_j. Few parameters stand in front of the noise.

Sources: Ba et al. (2016) for layer normalisation; Gensheimer and Narasimhan (2019) for the discrete-time
hazard with proportional hazards.
"""

from collections import OrderedDict

import numpy as np
import torch
from torch import nn

from wardround.common.errors import UsageError
from wardround.common.learning.firstmodel import FIRST_HAZARD_LOGIT, initial, like
from wardround.common.learning.parameters import Parameters
from wardround.common.study.outcomes import Outcome, SurvivalOutcome, output_width
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.terms import ModelTerms

__all__ = ["FIRST_HAZARD_LOGIT", "build", "export", "initial", "like", "load_into", "moved"]


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


def _trainable(module: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return [(name, value) for name, value in module.named_parameters() if value.requires_grad]
