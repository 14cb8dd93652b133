"""What became of a released model, as Markdown: the study's own measure first, then calibration, then every change."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from wardround.common.wording import DRIFTS, change_in_words, measure_name
from wardround.server.markdown import cell

_MEANING: Final = (
    "Two noised tables of other patients, counted in the same bins with the same model. The interval of a change holds "
    "sampling and privacy noise of both: 95% for the declared measure, and 95% for all others together. *Noticed*: a "
    "change that this comparison finds in 4 of 5 cases. Nothing here says why a model changed, or at which hospital."
)


def drift_section(claim: Mapping[str, Any]) -> str:
    """The section; equal claims give equal text."""
    return "\n\n".join([*drift_lines(claim), _MEANING, "\n".join(_table(claim))])


def drift_lines(claim: Mapping[str, Any]) -> Iterator[str]:
    """The two answers, on performance and on calibration."""
    primary = claim["primary"]
    yield f"Performance, by {measure_name(primary['measure'])} as declared: {change_in_words(primary)}."
    yield f"Calibration: {DRIFTS[claim['calibration']]}."


def _table(claim: Mapping[str, Any]) -> Iterator[str]:
    yield "| question | measure | before | now | change | noticed | verdict |"
    yield "|---|---|---:|---:|---|---:|---|"
    for row in (claim["primary"], *claim["changes"]):
        numbers = " | ".join(_numbers(row)) if row["difference"] is not None else "withheld | | |"
        yield f"| {cell(row['subject'])} | {measure_name(row['measure'])} | {numbers} | {DRIFTS[row['verdict']]} |"


def _numbers(row: Mapping[str, Any]) -> Iterator[str]:
    yield f"{row['before']:.3f}"
    yield f"{row['after']:.3f}"
    yield f"{row['difference']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f})"
    yield f"{row['noticed']:.3f}"
