"""The server's step from a combined update to the next base model.

FedAvg, FedProx and the robust rules add the combined update times the server's learning rate. FedAvgM (Hsu, Qi and
Brown 2019, arXiv:1909.06335) keeps a momentum, m <- beta1 m + delta, and adds it times that rate. FedAdam, FedYogi and
FedAdagrad treat it as a pseudo-gradient (Reddi et al. 2021, arXiv:2003.00295, algorithm 2), with
delta = combined:

    m <- beta1 m + (1 - beta1) delta
    FedAdam     v <- beta2 v + (1 - beta2) delta^2
    FedYogi     v <- v - (1 - beta2) delta^2 sign(v - delta^2)
    FedAdagrad  v <- v + delta^2
    x <- x + server_learning_rate m / (sqrt(v) + tau)

Moments start at zero and there is no bias correction, as in FLamby's published runs (the paper starts v at
tau^2 or above; with tau = 1e-8 the difference is invisible). Everything is float64; the next model is rounded
to float32 once, when it becomes parameters. No randomness. Post-processing of private updates stays private.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wardround.common.errors import StorageError, StudyError
from wardround.common.study.terms import FederationTerms

Vector = NDArray[np.float64]

ADAPTIVE: Final = frozenset({"fedadam", "fedyogi", "fedadagrad"})
"""The strategies that keep moments."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerState:
    """What the server's optimiser carries from round to round.

    Attributes:
        step: Rounds stepped so far.
        first: (d,) first moment m, or None before the first step of FedAvgM or an adaptive strategy.
        second: (d,) second moment v of an adaptive strategy, likewise.
        tail: (d,) sum of the models of the last rounds so far that are averaged; None before the first of them.
    """

    step: int = 0
    first: Vector | None = None
    second: Vector | None = None
    tail: Vector | None = None

    def to_arrays(self) -> dict[str, NDArray[np.generic]]:
        """Named arrays for a checkpoint; absent ones are left out."""
        moments = {"first": self.first, "second": self.second, "tail": self.tail}
        present = {name: array for name, array in moments.items() if array is not None}
        return {"step": np.array([self.step], dtype=np.int64), **present}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]]) -> "ServerState":
        """The inverse of `to_arrays`.

        Raises:
            StorageError: Unknown or missing names, or a second moment without the first.
        """
        found = set(arrays) - {"tail"}
        if found not in ({"step"}, {"step", "first"}, {"step", "first", "second"}):
            raise StorageError(f"expected step, moments and tail, found {sorted(arrays)}")
        step = int(arrays["step"].astype(np.int64).reshape(-1)[0])
        vectors = {name: array.astype(np.float64) for name, array in arrays.items() if name != "step"}
        return cls(step=step, **vectors)


def server_step(
    terms: FederationTerms, base: NDArray[np.floating], combined: Vector, state: ServerState
) -> tuple[Vector, ServerState]:
    """The next model and the next state; the arguments are left as they are.

    Args:
        terms: Strategy, `server_learning_rate`, `beta1`, `beta2`, `tau`.
        base: (d,) the model that the sites started from.
        combined: (d,) from `aggregation.combine`.
        state: Of the round before; `ServerState()` at the start.

    Raises:
        StudyError: Shapes differ, as after a resume with another study's checkpoint.

    Example:
        >>> terms = FederationTerms(strategy="fedadagrad", server_learning_rate=0.5)
        >>> new, state = server_step(terms, np.zeros(1), np.array([2.0]), ServerState())
        >>> new.round(6), state.second
        (array([0.05]), array([4.]))
    """
    _same_shape(base, combined, state)
    if terms.strategy == "fedavgm":
        moved = combined if state.first is None else terms.beta1 * state.first + combined
        return base + terms.server_learning_rate * moved, replace(state, step=state.step + 1, first=moved)
    if terms.strategy not in ADAPTIVE:
        return base + terms.server_learning_rate * combined, replace(state, step=state.step + 1)
    start = np.zeros_like(combined)
    first = state.first if state.first is not None else start
    second = state.second if state.second is not None else start
    first = terms.beta1 * first + (1 - terms.beta1) * combined
    second = _second_moment(terms, second, np.square(combined))
    move = terms.server_learning_rate * first / (np.sqrt(second) + terms.tau)
    return base + move, replace(state, step=state.step + 1, first=first, second=second)


def with_tail(state: ServerState, model: NDArray[np.floating]) -> ServerState:
    """The state with one more model in the sum of those that are averaged."""
    before = state.tail if state.tail is not None else np.zeros(model.shape)
    return replace(state, tail=before + model)


def _second_moment(terms: FederationTerms, second: Vector, squared: Vector) -> Vector:
    match terms.strategy:
        case "fedadam":
            return terms.beta2 * second + (1 - terms.beta2) * squared
        case "fedyogi":
            return second - (1 - terms.beta2) * squared * np.sign(second - squared)
        case _:
            return second + squared


def _same_shape(base: NDArray[np.floating], combined: Vector, state: ServerState) -> None:
    shapes = {base.shape, combined.shape}
    shapes |= {moment.shape for moment in (state.first, state.second) if moment is not None}
    if len(shapes) > 1:
        raise StudyError(
            f"base model, combined update and moments differ in shape: {sorted(map(str, shapes))}",
            advice="resume with the checkpoint of this study and this model",
        )
