"""The evaluation in a study's report, as Markdown: the study's own measure first, then everything else it released."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

from wardround.common.wording import JUDGEMENTS, measure_name
from wardround.server.driftpage import drift_section
from wardround.server.markdown import cell

_MEANING: Final = (
    "Every number comes from one table of held-out patients that left the hospitals under noise. *These patients*: 95% "
    "for what an exact count of the same patients would say; the price of privacy. *Population*: 95% for the patients "
    "that they came from. *Withheld*: too few patients for the noise; nothing else decides about it."
)
_FEW: Final = (
    "auc",
    "c_index",
    "brier",
    "integrated_brier",
    "accuracy",
    "calibration_slope",
    "calibration_in_the_large",
)


def evaluation_section(claim: Mapping[str, Any]) -> str:
    """The section; equal claims give equal text."""
    parts = [_judged(claim["judgement"]), _MEANING, "\n".join(_table(claim)), "\n".join(_price(claim))]
    if "drift" in claim:
        parts += ["## Since the model was released", drift_section(claim["drift"])]
    return "\n\n".join(parts)


def _judged(found: Mapping[str, Any]) -> str:
    return (
        f"Declared before anything was seen: {measure_name(found['measure'])} ({cell(found['subject'])}) "
        f"{found['direction'].replace('-', ' ')} {found['threshold']:g}. **{JUDGEMENTS[found['verdict']]}.**"
    )


def _table(claim: Mapping[str, Any]) -> Iterator[str]:
    yield "| question | patients | measure | estimate | these patients | population |"
    yield "|---|---|---|---:|---|---|"
    for row in claim["rows"]:
        if row["measure"] in _FEW:
            whom = f"{cell(row['column'])}: {cell(row['group'])}" if row["column"] else "all"
            if row["value"] is None:
                cells = "withheld | | "
            else:
                private = _interval(row["private_low"], row["private_high"])
                cells = f"{row['value']:.3f} | {private} | {_interval(row['low'], row['high'])}"
            yield f"| {cell(row['subject'])} | {whom} | {measure_name(row['measure'])} | {cells} |"


def _price(claim: Mapping[str, Any]) -> Iterator[str]:
    table = claim["table"]
    most = max(claim["sites"], key=lambda site: site["asked"])
    yield (
        f"One table of {len(table['cells'])} cells over {len(table['hospitals'])} hospitals, noise of standard "
        f"deviation {table['deviation']:.3g} in each. What it cost a held-out patient at most, at delta "
        f"{claim['delta']:g}, and a training patient nothing:"
    )
    yield ""
    yield "| who is curious | epsilon, at most |"
    yield "|---|---:|"
    for whom, value in most["epsilon"].items():
        yield f"| {whom} | {'infinite' if value is None else f'{value:.4f}'} |"
    yield ""
    yield (
        "All measures, net benefit and calibration by bin too, and the bins themselves stand in `results.json` under "
        "`evaluation`."
    )


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None or math.isnan(low) else f"{low:.3f} to {high:.3f}"
