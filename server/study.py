"""The state machine of one study at the coordinator: pure, no I/O, no Flower.

A round is asked in attempts. An attempt with enough admitted updates advances the model; one without is void,
and the next attempt starts from the same model. Weights, roster and quorum come from the protocol, never from a
reply.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from wardround.common.errors import StudyError
from wardround.common.learning.parameters import Parameters, from_vector, parameters_digest, to_vector
from wardround.common.study.protocol import StudyProtocol
from wardround.server.aggregation import combine
from wardround.server.optimisers import ServerState, server_step


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Everything the coordinator needs to go on after its own death.

    Attributes:
        rounds: Completed rounds.
        attempts: Void attempts of the open round.
        parameters: The model that the open round starts from.
        state: Memory of the server's optimiser.
    """

    rounds: int = 0
    attempts: int = 0
    parameters: Parameters
    state: ServerState = field(default_factory=ServerState)


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
    """

    def __init__(self, protocol: StudyProtocol, sites: tuple[str, ...], progress: Progress) -> None:
        self.protocol = protocol
        self.sites = sites
        self.progress = progress
        self._weights = protocol.federation.weights(sites)
        self.quorum = protocol.federation.quorum or len(sites)
        if self.quorum > len(sites):
            raise StudyError(
                f"the protocol asks for a quorum of {self.quorum}, the roster has {len(sites)} sites",
                advice="more sites must join, or the protocol needs a smaller quorum",
            )

    @property
    def complete(self) -> bool:
        """Whether every round of the protocol is done."""
        return self.progress.rounds >= self.protocol.federation.rounds

    def task(self) -> RoundTask:
        """The task of the next attempt.

        Raises:
            StudyError: All attempts of the open round are used up.
        """
        allowed = self.protocol.federation.attempts
        if self.progress.attempts >= allowed:
            raise StudyError(
                f"round {self.progress.rounds + 1} stayed below its quorum of {self.quorum} in {allowed} attempts",
                advice="see the study log for the sites that were missing or refused; every attempt was charged",
            )
        base = self.progress.parameters
        return RoundTask(
            round=self.progress.rounds + 1,
            attempt=self.progress.attempts + 1,
            base=base,
            base_model=parameters_digest(base),
        )

    def close(self, updates: Mapping[str, Parameters]) -> bool:
        """End an attempt with the admitted updates; tells whether the round counts.

        Guarantees:
            The result depends on the admitted updates, the protocol's weights and the roster's order only, not
            on the order of arrival nor on anything a site claims about itself.
        """
        present = tuple(name for name in self.sites if name in updates)
        if len(present) < self.quorum:
            self.progress = replace(self.progress, attempts=self.progress.attempts + 1)
            return False
        terms = self.protocol.federation
        base = self.progress.parameters
        matrix = np.stack([to_vector(updates[name]) for name in present])
        weights = np.array([self._weights[name] for name in present])
        vector, state = server_step(
            terms, to_vector(base), combine(terms, matrix, weights), self.progress.state
        )
        self.progress = Progress(
            rounds=self.progress.rounds + 1, parameters=from_vector(vector, base), state=state
        )
        return True
