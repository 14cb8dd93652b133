"""Each model at each hospital: does a model that one hospital trained alone do for the patients of another?

Exact, on held-out patients, with all models on the same patients of a hospital; therefore it stays in a simulation.
Between hospitals every cell would be a release of its own, of a model that a hospital would have to give away first.

A hospital's held-out patients judge where there are enough of them (`common.learning.enough`); else the cell says so.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from wardround.common import wording
from wardround.common.learning.enough import enough
from wardround.common.learning.intervals import bootstrap
from wardround.common.learning.metrics import evaluate
from wardround.simulations.evaluation import Board, Predictions
from wardround.simulations.evidencerows import CrossRow
from wardround.simulations.resultrows import PRIMARY
from wardround.simulations.results import Results

MOST: Final = 20
"""Hospitals above which models times hospitals are more cells than anybody reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossLine:
    """One model: what it is, and its cell at each hospital in words."""

    model: str
    cells: tuple[str, ...]


def cross_rows(board: Board, rng: np.random.Generator) -> tuple[CrossRow, ...]:
    """The primary metric of every model at every hospital that it was tried at, with 95% intervals.

    Args:
        board: Truth and predictions; `cross` holds those of a hospital's own model elsewhere.
        rng: Draws the resamples.

    Returns:
        Nothing for one hospital, or for more than `MOST`.
    """
    if not 2 <= len(board.truth) <= MOST:
        return ()
    return tuple(
        _row(board, model, site, made, rng)
        for found in (board.predictions, board.cross)
        for model, by_site in found.items()
        for site, made in by_site.items()
    )


def _row(board: Board, model: str, site: str, made: Predictions, rng: np.random.Generator) -> CrossRow:
    outcome, targets = board.outcome, board.truth[site]
    values = evaluate(outcome, targets, made)
    metric = next(name for name in PRIMARY if name in values)
    found = (np.nan, np.nan, np.nan)
    if enough(outcome, targets):
        found = (values[metric], *bootstrap(outcome, targets, made, metric, rng=rng))
    value, low, high = map(float, found)
    return CrossRow(
        model=model, on=site, metric=metric, value=value, low=low, high=high, patients=len(targets)
    )


def cross_lines(results: Results) -> tuple[CrossLine, ...]:
    """The table of a report, one line per model; empty where nothing was tried elsewhere."""
    if not any(_elsewhere(row) for row in results.cross_site):
        return ()
    cells = {(row.model, row.on): row for row in results.cross_site}
    return tuple(
        CrossLine(model=_named(model), cells=tuple(_cell(cells.get((model, site))) for site in results.sites))
        for model in _models(results)
    )


def _elsewhere(row: CrossRow) -> bool:
    return row.model.startswith("local:") and row.model != f"local:{row.on}"


def _models(results: Results) -> Iterator[str]:
    """Joint first, then each hospital alone, then joint without each: in the order of the hospitals."""
    known = dict.fromkeys(row.model for row in results.cross_site)
    own = (f"{kind}:{site}" for kind in ("local", "federated-without") for site in results.sites)
    wanted = ("federated", "pooled", *own)
    return (model for model in wanted if model in known)


def _named(model: str) -> str:
    kind, _, site = model.partition(":")
    return {
        "federated": "Joint model",
        "pooled": "All data pooled",
        "local": f"{site} alone",
        "federated-without": f"Joint, trained without {site}",
    }[kind]


def _cell(row: CrossRow | None) -> str:
    if row is None:
        return ""
    if np.isnan(row.value):
        return wording.TOO_FEW
    return f"{wording.number(row.value)} {wording.interval(row.low, row.high)}"
