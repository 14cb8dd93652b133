"""The comparison with published results as one page of text."""

from collections.abc import Iterable, Mapping
from typing import Final

import pandas as pd

from wardround.simulations.published_data import POOLED
from wardround.simulations.published_privacy import Spent

HEAD: Final = """# Published federated results, repeated

FLamby's five federated methods on two data sets, seeds 42 to 46, with Wardround's own local steps, aggregation,
server optimisers, losses and metrics, in the published order of random draws. Accuracy at .5 on Fed-Heart-Disease,
C-index on Fed-TCGA-BRCA. Every single value is in the CSV file beside this page. Nothing here is private.
"""

BETTER: Final = """## A better recipe on the same split

Inputs scaled by public constants, six rounds of exact Newton steps on per-site sums, ridge 1, no randomness.
Other scalings and ridges had been looked at on these test patients (.834 to .860, and .800 to .827), so this shows what
is within reach, not an untouched test.
The regions and the Swiss hospital have few test patients: 1 to 14 deaths per region, 32 in all.
"""

PRIVATE: Final = """## What the published private runs spent

The publication's private runs on Fed-Heart-Disease state epsilon 1 at delta 1e-3. Their noise was calibrated for 15
passes over each client's patients, but 1,500 steps were run; even granting Poisson sampling, each client spent:
"""

Row = Iterable[object]


def summary(compared: pd.DataFrame) -> pd.DataFrame:
    """One row per data set and method.

    Args:
        compared: As from `published.compare`.

    Returns:
        Columns `data set`, `method`; `published` and `ours`: mean and sd over seeds on the pooled test;
        `published, clients` and `ours, clients`: means over the clients' tests; `equal`: how many values of how
        many are equal.
    """
    return pd.DataFrame([_summary_row(name, method, part) for (name, method), part in _groups(compared)])


def _summary_row(name: object, method: object, part: pd.DataFrame) -> dict[str, object]:
    pooled = part[part["test"] == POOLED]
    clients = part[part["test"] != POOLED]
    spread = {who: f"{pooled[who].mean():.4f} ± {pooled[who].std():.4f}" for who in ("published", "ours")}
    means = {f"{who}, clients": f"{clients[who].mean():.4f}" for who in ("published", "ours")}
    equal = f"{part['equal'].sum()} of {len(part)}"
    return {"data set": name, "method": method, **spread, **means, "equal": equal}


def better_summary(better: pd.DataFrame, compared: pd.DataFrame) -> pd.DataFrame:
    """The better recipes beside the best published federated method of the same data set."""
    return pd.DataFrame(
        [
            _better_row(name, recipe, part, compared[compared["data set"] == name])
            for (name, recipe), part in _groups(better)
        ]
    )


def _better_row(
    name: object, recipe: object, part: pd.DataFrame, compared: pd.DataFrame
) -> dict[str, object]:
    row: dict[str, object] = {"data set": name, "recipe": recipe}
    for label, chosen in {"pooled test": True, "clients": False}.items():
        known = compared[(compared["test"] == POOLED) == chosen].groupby("method")["published"].mean()
        row[label] = f"{part.loc[(part['test'] == POOLED) == chosen, 'value'].mean():.4f}"
        row[f"{label}, best published"] = f"{known.max():.4f} ({known.idxmax()})"
    return row


def page(
    compared: pd.DataFrame,
    better: pd.DataFrame,
    private: Mapping[str, Spent],
    facts: Mapping[str, str],
) -> str:
    """Markdown.

    Args:
        compared: As from `published.compare`.
        better: As from `published_recipe.better`.
        private: Per client, what its published private run spent.
        facts: What was read and run: digests and versions, printed as a list.
    """
    spent = [(name, one.stated, f"{one.noise_multiplier:.3f}", one.spent) for name, one in private.items()]
    parts = [
        HEAD,
        table(summary(compared)),
        BETTER,
        table(better_summary(better, compared)),
        PRIVATE,
        table(pd.DataFrame(spent, columns=["client", "stated epsilon", "noise multiplier", "spent epsilon"])),
        "## Made from\n",
        "\n".join(f"- {name}: `{value}`" for name, value in facts.items()) + "\n",
    ]
    return "\n".join(parts)


def table(frame: pd.DataFrame) -> str:
    """A Markdown table of a frame, without its index."""
    rows: list[Row] = [frame.columns, ["---"] * len(frame.columns), *frame.itertuples(index=False)]
    return "".join(f"| {' | '.join(str(cell) for cell in row)} |\n" for row in rows)


def _groups(frame: pd.DataFrame) -> Iterable[tuple[tuple[object, ...], pd.DataFrame]]:
    return ((tuple(key), part) for key, part in frame.groupby(["data set", "method"], sort=False))
