"""The state machine of one study: pure, no I/O, no Flower. The coordinator runs it, an auditor runs it again.

A round is asked in attempts. An attempt with enough admitted updates advances the model; one without is void,
and the next attempt starts from the same model. Weights, roster and quorum come from the protocol, never from a
reply.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from wardround.common.errors import StudyError, TrustError
from wardround.common.learning.aggregation import combine
from wardround.common.learning.evaluated import Evaluated
from wardround.common.learning.oneshot import noise_ridge, solve
from wardround.common.learning.optimisers import ServerState, Vector, server_step, with_tail
from wardround.common.learning.parameters import (
    Parameters,
    check_like,
    from_vector,
    parameters_digest,
    to_vector,
)
from wardround.common.learning.statistics import size
from wardround.common.privacy.jointnoise import grid_of
from wardround.common.study.protocol import StudyProtocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Everything the coordinator needs to go on after its own death.

    Attributes:
        rounds: Completed rounds.
        attempts: Void attempts of the open round.
        parameters: The model that the open round starts from.
        state: Memory of the server's optimiser.
        evaluation: The noised table of held-out patients; None before it is there.
    """

    rounds: int = 0
    attempts: int = 0
    parameters: Parameters
    state: ServerState = field(default_factory=ServerState)
    evaluation: Evaluated | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundTask:
    """What every site is asked in one attempt. `round` and `attempt` count from 1."""

    round: int
    attempt: int
    base: Parameters
    base_model: str


class Study:
    """One study in progress.

    Args:
        protocol: The public terms.
        sites: Names of the roster's sites, in the order in which updates are combined.
        progress: Where to start: the initial model, or a checkpoint.

    Attributes:
        everyone: All sites of the roster, external ones too.
    """

    def __init__(self, protocol: StudyProtocol, sites: tuple[str, ...], progress: Progress) -> None:
        self.protocol = protocol
        self.everyone = sites
        self.progress = progress
        training = self.sites_at(1)
        self._weights = protocol.federation.weights(training)
        self._quorums = quorum_of(protocol, len(training)), quorum_of(protocol, len(sites))

    @property
    def complete(self) -> bool:
        """Whether every round of the protocol is done, and the evaluation if there is one."""
        evaluated = self.protocol.evaluation is None or self.progress.evaluation is not None
        return self.progress.rounds >= self.protocol.federation.rounds and evaluated

    @property
    def evaluating(self) -> bool:
        """Whether the next task is the evaluation."""
        return self.protocol.evaluates(self.progress.rounds + 1)

    def sites_at(self, round_: int) -> tuple[str, ...]:
        """The sites of a round: without the external ones, but in the evaluation."""
        if self.protocol.evaluates(round_):
            return self.everyone
        return training_sites(self.protocol, self.everyone)

    @property
    def sites(self) -> tuple[str, ...]:
        """The sites of the open round."""
        return self.sites_at(self.progress.rounds + 1)

    @property
    def quorum(self) -> int:
        """Sites without which an attempt of the open round is void."""
        training, evaluation = self._quorums
        return evaluation if self.evaluating else training

    def task(self) -> RoundTask:
        """The task of the next attempt.

        Raises:
            StudyError: All attempts of the open round are used up.
        """
        allowed = self.protocol.attempts_of(self.progress.rounds + 1)
        if self.progress.attempts >= allowed:
            raise StudyError(
                f"{self._open_round} stayed below its quorum of {self.quorum} in {allowed} attempts",
                advice="see the study log for the sites that were missing or refused; answered attempts stay charged",
            )
        base = self.model if self.evaluating else self.progress.parameters
        return RoundTask(
            round=self.progress.rounds + 1,
            attempt=self.progress.attempts + 1,
            base=base,
            base_model=parameters_digest(base),
        )

    @property
    def _open_round(self) -> str:
        return "the evaluation" if self.evaluating else f"round {self.progress.rounds + 1}"

    def close(self, updates: Mapping[str, Parameters]) -> bool:
        """End an attempt with the admitted updates; tells whether the round counts.

        Guarantees:
            The result depends on the admitted updates, the protocol's weights and the roster's order only, not
            on the order of arrival nor on anything a site claims about itself.
        """
        present = tuple(name for name in self.sites if name in updates)
        if len(present) < self.quorum:
            self.void()
            return False
        if self.evaluating:
            tables = [to_vector(updates[name]).astype(np.float64) for name in present]
            self.finish_evaluation(np.sum(tables, axis=0), present)
            return True
        width = sum(array.size for array in self.progress.parameters.values())
        matrix = np.empty((len(present), width), np.float32)
        for row, name in zip(matrix, present, strict=True):
            to_vector(updates[name], out=row)
        weights = np.array([self._weights[name] for name in present])
        self.advance(combine(self.protocol.federation, matrix, weights))
        return True

    def void(self) -> None:
        """End an attempt without a result: the model stays, the attempt is used up."""
        self.progress = replace(self.progress, attempts=self.progress.attempts + 1)

    def advance(self, combined: Vector) -> None:
        """End a round with one combined update (d,), which the server's optimiser applies.

        Raises:
            StudyError: The model left the range that sites accept. Each admitted update stayed in it, so the
                optimiser went too far.
        """
        base = self.progress.parameters
        vector, state = server_step(self.protocol.federation, to_vector(base), combined, self.progress.state)
        try:
            model = check_like(from_vector(vector, base), base)
        except TrustError as error:
            raise StudyError(
                f"round {self.progress.rounds + 1} diverged: {error}",
                advice="publish a protocol with a smaller server_learning_rate or learning_rate, or more clipping",
            ) from error
        self.replace_model(model, state)

    def advance_by_sum(self, total: Vector, sites: Sequence[str]) -> None:
        """End a round with an opened secure sum (d,) over `sites`, noise included.

        Of gradients: the mean over the public number of patients is one step downhill, with weight decay. Of
        statistics: the model that they determine. Of held-out patients: the table, and the model stays.
        """
        if self.evaluating:
            self.finish_evaluation(total, sites)
            return
        protocol, base = self.protocol, self.progress.parameters
        if protocol.sums_statistics(self.progress.rounds + 1):
            state = replace(self.progress.state, step=self.progress.state.step + 1)
            self.replace_model(solved(protocol, total, base, sites=len(sites)), state)
            return
        patients = sum(protocol.reference_patients(site) for site in sites)
        downhill = total / patients + protocol.model.l2 * to_vector(_decaying(base))
        self.advance(-protocol.federation.learning_rate * downhill)

    def finish_evaluation(self, table: Vector, sites: Sequence[str]) -> None:
        """End the evaluation with the noised table of these sites."""
        evaluated = Evaluated(table=table, sites=tuple(sites))
        self.progress = replace(self.progress, attempts=0, evaluation=evaluated)

    def replace_model(self, model: Parameters, state: ServerState) -> None:
        """End a round with its model as it is."""
        rounds, terms = self.progress.rounds + 1, self.protocol.federation
        if terms.average_last > 1 and rounds > terms.rounds - terms.average_last:
            state = with_tail(state, to_vector(model))
        self.progress = Progress(rounds=rounds, parameters=model, state=state)

    @property
    def model(self) -> Parameters:
        """The model to release: the last one, or the mean of the last few where the protocol averages."""
        terms, progress = self.protocol.federation, self.progress
        if progress.state.tail is None:
            return progress.parameters
        averaged = progress.rounds - (terms.rounds - terms.average_last)
        return from_vector(progress.state.tail / averaged, progress.parameters)


def solved(protocol: StudyProtocol, total: Vector, base: Parameters, *, sites: int) -> Parameters:
    """The linear model that a noisy sum of statistics determines, with a ridge from the public noise."""
    width = input_width(base)
    grid = grid_of(protocol.privacy, sites=sites, coordinates=total.size)
    ridge = noise_ridge(protocol, width, grid.share_deviation * math.sqrt(sites))
    return solve(protocol, total, width, ridge=ridge)


def summed_values(protocol: StudyProtocol, base: Parameters, round_: int) -> int:
    """Values in the secure sum of a round; public."""
    if protocol.evaluates(round_):
        return protocol.table_cells
    if protocol.sums_statistics(round_):
        return size(protocol, input_width(base))
    return to_vector(base).size


def input_width(base: Parameters) -> int:
    """Width of the feature path, from the model's first layer."""
    first: NDArray[np.float32] = next(iter(base.values()))
    return int(first.shape[-1])


def _decaying(base: Parameters) -> Parameters:
    """The weights, with zeros for intercepts and baseline hazards, which weight decay leaves alone."""
    return {name: array if array.ndim > 1 else np.zeros_like(array) for name, array in base.items()}


def training_sites(protocol: StudyProtocol, names: Sequence[str]) -> tuple[str, ...]:
    """Those of a roster that are asked in round 1: all that train, or all where a released model is monitored."""
    return tuple(name for name in names if protocol.monitoring or protocol.trains(name))


def quorum_of(protocol: StudyProtocol, sites: int) -> int:
    """Sites without which an attempt is void.

    Raises:
        StudyError: The roster is smaller than that, or cannot hold the honest sites that the protocol counts on.
    """
    quorum = protocol.federation.quorum or sites
    if quorum > sites:
        raise StudyError(
            f"the protocol asks for a quorum of {quorum}, the roster has {sites} sites",
            advice="more sites must join, or the protocol needs a smaller quorum",
        )
    if protocol.privacy.honest_sites >= quorum:
        raise StudyError(
            f"the protocol counts on {protocol.privacy.honest_sites} honest sites in a quorum of {quorum}",
            advice="honest_sites must be below the quorum, so that the claim holds against a curious member too",
        )
    return quorum
