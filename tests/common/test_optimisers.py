"""Hand-worked steps, an independent scalar loop, and torch's own Adam and Adagrad."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from wardround.common.errors import StorageError, StudyError
from wardround.common.learning.optimisers import ADAPTIVE, ServerState, server_step
from wardround.common.study.terms import STRATEGIES, FederationTerms, Strategy

Vector = NDArray[np.float64]


def run(terms: FederationTerms, base: Vector, deltas: list[Vector]) -> tuple[Vector, ServerState]:
    state = ServerState()
    for delta in deltas:
        base, state = server_step(terms, base, delta, state)
    return base, state


def deltas(rounds: int, width: int) -> list[Vector]:
    rng = np.random.default_rng(7)
    return [rng.normal(size=width) * 10.0 ** rng.integers(-4, 2) for _ in range(rounds)]


@pytest.mark.parametrize("strategy", sorted(set(STRATEGIES) - ADAPTIVE - {"fedavgm"}))
def test_strategies_without_moments_add_the_update_times_the_rate(strategy: Strategy) -> None:
    terms = FederationTerms(strategy=strategy, server_learning_rate=0.5)
    new, state = server_step(terms, np.array([1.0, 2.0]), np.array([4.0, -2.0]), ServerState(step=3))
    assert new.tolist() == [3.0, 1.0]
    assert (state.step, state.first, state.second) == (4, None, None)


@pytest.mark.parametrize(
    ("strategy", "second"),
    [
        # Two rounds, delta 2 then 1, beta1 .5, beta2 .75: m = 1, then 1.
        ("fedadam", [1.0, 1.0]),  # .25*4, then .75*1 + .25*1
        ("fedyogi", [1.0, 1.0]),  # 0 + .25*4; then v = delta^2: sign 0, v stays
        ("fedadagrad", [4.0, 5.0]),
    ],
)
def test_two_rounds_by_hand(strategy: Strategy, second: list[float]) -> None:
    terms = FederationTerms(strategy=strategy, server_learning_rate=0.1, beta1=0.5, beta2=0.75, tau=1.0)
    one, state = server_step(terms, np.array([10.0]), np.array([2.0]), ServerState())
    assert one[0] == pytest.approx(10 + 0.1 * 1.0 / (math.sqrt(second[0]) + 1))
    two, state = server_step(terms, one, np.array([1.0]), state)
    assert state.second is not None
    assert state.second[0] == pytest.approx(second[1])
    assert two[0] == pytest.approx(one[0] + 0.1 * 1.0 / (math.sqrt(second[1]) + 1))


def test_yogi_lowers_its_moment_when_updates_shrink_and_raises_it_when_they_grow() -> None:
    terms = FederationTerms(strategy="fedyogi", beta2=0.9)
    start = ServerState(step=1, first=np.zeros(2), second=np.array([4.0, 4.0]))
    _, state = server_step(terms, np.zeros(2), np.array([1.0, 3.0]), start)
    assert state.second == pytest.approx([4 - 0.1 * 1, 4 + 0.1 * 9])


def scalar_oracle(terms: FederationTerms, start: float, values: list[float]) -> float:
    x, m, v = start, 0.0, 0.0
    for g in values:
        m = m + (1 - terms.beta1) * (g - m)
        if terms.strategy == "fedadam":
            v = v - (1 - terms.beta2) * (v - g * g)
        elif terms.strategy == "fedyogi":
            v = v + math.copysign((1 - terms.beta2) * g * g, g * g - v) if g * g != v else v
        else:
            v = v + g * g
        x = x + terms.server_learning_rate * m / (math.sqrt(v) + terms.tau)
    return x


@pytest.mark.parametrize("strategy", sorted(ADAPTIVE))
def test_twenty_rounds_agree_with_a_scalar_loop(strategy: Strategy) -> None:
    terms = FederationTerms(strategy=strategy, server_learning_rate=0.3, tau=1e-3)
    moves = deltas(20, 5)
    found, _ = run(terms, np.ones(5), moves)
    for column in range(5):
        expected = scalar_oracle(terms, 1.0, [float(move[column]) for move in moves])
        assert found[column] == pytest.approx(expected, rel=1e-12)


def test_fedadam_is_torch_adam_without_its_bias_correction() -> None:
    # torch: step = lr/(1-b1^t) * m / (sqrt(v)/sqrt(1-b2^t) + eps); the oracle undoes both corrections.
    terms = FederationTerms(strategy="fedadam", server_learning_rate=1.0, tau=1e-8)
    moves = deltas(6, 3)
    ours = np.zeros(3)
    state = ServerState()
    weight = torch.nn.Parameter(torch.zeros(3, dtype=torch.float64))
    adam = torch.optim.Adam([weight], lr=1.0, betas=(0.9, 0.999), eps=1e-16)
    for t, move in enumerate(moves, start=1):
        before = weight.detach().clone()
        weight.grad = torch.from_numpy(-move)
        adam.step()
        corrected = (weight.detach() - before).numpy() * (1 - 0.9**t) / math.sqrt(1 - 0.999**t)
        new, state = server_step(terms, ours, move, state)
        assert new - ours == pytest.approx(corrected, rel=1e-4)
        ours = new


def test_fedadagrad_without_momentum_is_torch_adagrad() -> None:
    terms = FederationTerms(strategy="fedadagrad", server_learning_rate=0.2, beta1=0.0, tau=1e-8)
    moves = deltas(10, 4)
    weight = torch.nn.Parameter(torch.ones(4, dtype=torch.float64))
    adagrad = torch.optim.Adagrad([weight], lr=0.2, eps=1e-8)
    for move in moves:
        weight.grad = torch.from_numpy(-move)
        adagrad.step()
    found, _ = run(terms, np.ones(4), moves)
    assert found == pytest.approx(weight.detach().numpy(), rel=1e-12)


@pytest.mark.parametrize("strategy", sorted(ADAPTIVE))
def test_a_coordinate_that_never_moved_stays(strategy: Strategy) -> None:
    new, _ = server_step(FederationTerms(strategy=strategy), np.array([3.0]), np.zeros(1), ServerState())
    assert new.tolist() == [3.0]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_resumed_server_continues_bit_for_bit(strategy: Strategy) -> None:
    terms = FederationTerms(strategy=strategy)
    moves = deltas(8, 6)
    straight, _ = run(terms, np.zeros(6), moves)
    base, state = run(terms, np.zeros(6), moves[:3])
    restored = ServerState.from_arrays(state.to_arrays())
    for move in moves[3:]:
        base, restored = server_step(terms, base, move, restored)
    assert base.tobytes() == straight.tobytes()
    assert restored.step == 8


def test_a_step_leaves_its_arguments_as_they_were() -> None:
    base, delta = np.ones(2), np.array([1.0, -1.0])
    state = ServerState(step=1, first=np.ones(2), second=np.ones(2))
    server_step(FederationTerms(strategy="fedyogi"), base, delta, state)
    assert base.tolist() == [1.0, 1.0]
    assert delta.tolist() == [1.0, -1.0]
    assert state.first is not None
    assert state.first.tolist() == [1.0, 1.0]


def test_half_a_state_is_refused() -> None:
    arrays = ServerState(step=2, first=np.ones(1), second=np.ones(1)).to_arrays()
    del arrays["first"]
    with pytest.raises(StorageError, match="expected step, moments and tail"):
        ServerState.from_arrays(arrays)


def test_a_state_of_another_model_is_refused() -> None:
    state = ServerState(step=1, first=np.ones(3), second=np.ones(3))
    with pytest.raises(StudyError, match="differ in shape"):
        server_step(FederationTerms(strategy="fedadam"), np.zeros(2), np.zeros(2), state)


def test_fedavgm_moves_by_a_decaying_sum_of_updates() -> None:
    terms = FederationTerms(strategy="fedavgm", server_learning_rate=0.5, beta1=0.8)
    one, state = server_step(terms, np.array([10.0]), np.array([2.0]), ServerState())
    two, state = server_step(terms, one, np.array([-1.0]), state)
    assert one[0] == pytest.approx(10 + 0.5 * 2)
    assert two[0] == pytest.approx(11 + 0.5 * (0.8 * 2 - 1))
    assert ServerState.from_arrays(state.to_arrays()).first == pytest.approx([0.6])
