"""A run in a few lines of text: what each hospital gains, what was spent."""

import math

from wardround.common.wording import TOO_FEW
from wardround.simulations.privacy_words import assuming
from wardround.simulations.resultrows import GainRow
from wardround.simulations.results import Results
from wardround.simulations.verdicts import MANY, gain_of, summary


def in_words(results: Results) -> str:
    """The terminal's summary of one run.

    Args:
        results: A finished run.
    """
    metric = results.primary
    lines = [f"\n{results.study} ({_privacy(results)})"]
    whole = {model: results.value(model, "all", metric) for model in ("federated", "pooled")}
    lines += [
        f"  {metric} of the {model} model on all: {value:.3f}"
        for model, value in whole.items()
        if not math.isnan(value)
    ]
    lines += _hospitals([row for row in results.gains if row.metric == metric])
    if left := results.left_out_sites:
        sites = "1 site was" if left == 1 else f"{left} sites were"
        lines.append(f"  {sites} left out: too small, or unfit for the protocol")
    return "\n".join(lines)


def _hospitals(gains: list[GainRow]) -> list[str]:
    if len(gains) > MANY:
        return [f"  {summary(gains)}"]
    return [
        f"  {row.site}: {row.federated:.3f}, alone {row.local:.3f}, difference {row.difference:+.3f}{_sure(row)}"
        for row in gains
    ]


def _sure(row: GainRow) -> str:
    return f" [{row.low:+.3f} to {row.high:+.3f}]" if gain_of(row).word != "unknown" else f", {TOO_FEW}"


def _privacy(results: Results) -> str:
    if results.mechanism == "none":
        return "no privacy"
    label = "" if results.training_private else ", NOT private: see the report"
    condition = f", {assuming(results)}" if results.honest_sites else ""
    stated = f"epsilon {results.largest():g} at delta {results.delta:g} per patient, add or remove one"
    return f"{stated}{condition}{label}"
