"""A control whose answer is known: labels that were shuffled can be predicted by nobody.

The seeds were fixed before the first run. Held out once and not by folds: pooled over folds, an AUC without any signal
lies below .5, because each fold's model has learnt the other folds' share of outcomes.
Run by `pytest -m slow tests/simulations/test_controls.py`.
"""

import numpy as np
import pytest
from tests.runs import new_folder, simulate, study, table, write

from wardround.simulations.results import Results

SEEDS = range(20)
FEWEST_RIGHT = 17
"""Of 20 honest 95% intervals fewer than 17 hold the truth in one of 60 series only."""


@pytest.mark.slow
def test_shuffled_labels_are_predicted_no_better_than_by_a_coin() -> None:
    held: list[bool] = []
    for seed in SEEDS:
        frame = table(seed=100 + seed)
        patients = frame.drop_duplicates("patient")
        shuffled = np.random.default_rng(seed).permutation(patients["response"].to_numpy())
        labels = dict(zip(patients["patient"], shuffled, strict=True))
        folder = new_folder()
        paths = write(folder, study(), frame.assign(response=frame["patient"].map(labels)))
        said = simulate(*paths, folder / "run")
        assert said.code == 0, said.err
        results = Results.load(folder / "run" / "results.json")
        row = next(r for r in results.evaluation if (r.model, r.on, r.metric) == ("federated", "all", "auc"))
        held.append(row.low <= 0.5 <= row.high)
    assert sum(held) >= FEWEST_RIGHT, held
