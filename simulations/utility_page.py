"""The runs of `utility` as one page: means over draws of the noise, and whether joint noise keeps up with pooling."""

from typing import Final

import pandas as pd

from wardround.simulations.published_table import table

MARGIN: Final = 0.02
"""Joint noise may stay this far below central DP-SGD at epsilon 1."""

ARMS: Final = ("joint", "central", "site")
WITHOUT: Final = ("none", "alone", "alone at home")

HEAD: Final = """# What privacy costs on real cohorts

Linear models, delta 1e-5, one patient added or removed; epsilon over all rounds. Settings come from one rule
(`simulations/joint_recipe.py`) that was fixed on synthetic worlds before any of these runs; protocols are in
`simulations/studies/joint`. AUC (macro for PAM50) or C-index on all held-out patients together, a quarter of each
site's; mean and standard deviation over draws of the noise. The figures themselves are exact and not private.

- *joint*: joint noise against everybody but K - 1 honest sites, through the real federation; with more than 20 sites
  the same shares and sums without masks and messages.
- *central*: DP-SGD on the pooled patients with the same steps, clipping and epsilon.
- *site*: every site's noise protects its patients alone, same steps and epsilon.
- *none*: the same inputs and model on pooled patients, without privacy.
- *alone*: mean over sites of a site's own model without privacy; *at home*: tested on its own patients only.

What to keep in mind: one split of the patients, so that a difference between columns says more than their level. By
region, eight large sites, site noise does as well; the gain is where sites are small or epsilon is. Public constants
come from outside the studies: METABRIC's from TCGA breast cancer and the literature, pan-cancer's from the hospitals
that are too small to take part. Regions were assigned to hospital codes by hand from a public list of names; that table
is not part of this repository.
"""


def page(rows: pd.DataFrame) -> str:
    """Markdown.

    Args:
        rows: Columns as the fields of `utility.UtilityRow`.
    """
    found = [_line(study, epsilon, rows) for study, epsilon in _settings(rows)]
    return f"{HEAD}\n{table(pd.DataFrame(found))}"


def _settings(rows: pd.DataFrame) -> list[tuple[str, float]]:
    private = rows[rows["arm"].isin(ARMS)]
    return list(private[["study", "epsilon"]].drop_duplicates().itertuples(index=False, name=None))


def _line(study: str, epsilon: float, rows: pd.DataFrame) -> dict[str, str]:
    own = rows[rows["study"] == study]
    private = own[own["epsilon"] == epsilon]
    values = {arm: private.loc[private["arm"] == arm, "value"] for arm in ARMS}
    exact = {arm: own.loc[own["arm"] == arm, "value"] for arm in WITHOUT}
    gap = float(values["joint"].mean() - values["central"].mean())
    return {
        "study": study,
        "sites": str(own["sites"].iloc[0]),
        "epsilon": f"{epsilon:g}",
        "draws": str(len(values["joint"])),
        **{arm: f"{_short(each.mean())} ({_short(each.std())})" for arm, each in values.items()},
        "joint - central": f"{gap:+.3f}",
        f"within {MARGIN:g}": "yes" if gap >= -MARGIN else "no",
        **{arm: _short(each.mean()) for arm, each in exact.items()},
    }


def _short(value: float) -> str:
    return f"{value:.3f}".removeprefix("0")
