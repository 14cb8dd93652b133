"""The report of a run: one HTML page that opens offline, prints, and answers first.

The page holds everything it shows: no script, no font, no address outside. Names of hospitals and columns come
from tables and are escaped wherever they appear; a content security policy forbids what an escape might miss.
Rendering is a pure function of results and protocol; only the last step writes a file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from wardround.common import wording
from wardround.common.durable import write_atomic
from wardround.common.page import STYLE
from wardround.common.study.protocol import StudyProtocol
from wardround.simulations import plots, verdicts
from wardround.simulations.crosssite import cross_lines
from wardround.simulations.privacy_words import (
    PROTECTED,
    adversaries,
    banners,
    meaning,
    small,
    stated,
    terms,
    unprotected,
)
from wardround.simulations.report_evidence import evidence
from wardround.simulations.report_private import private_section
from wardround.simulations.resultrows import GainRow
from wardround.simulations.results import Results

FILE_NAME: Final = "report.html"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One hospital's line: its name, its verdict word and symbol, and the sentence."""

    site: str
    patients: int | None
    word: str
    symbol: str
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteLine:
    """One hospital's row in the table; numbers already in words."""

    site: str
    held_out: str
    joint: str
    own: str
    pooled: str
    unseen: str
    difference: str
    chance: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EpsilonLine:
    """One hospital's row in the table of epsilons: one cell per adversary, with the price of replacing beside it."""

    site: str
    cells: tuple[str, ...]


@cache
def environment() -> Environment:
    """The page templates, which lie beside this module; everything is escaped, and an unknown name is an error."""
    made = Environment(
        loader=FileSystemLoader([Path(__file__).parent, STYLE.parent]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"number": wording.number, "stated": stated, "small": small}
    return made


def write_report(results: Results, protocol: StudyProtocol, folder: Path) -> Path:
    """Write `report.html` into a run folder.

    Args:
        results: What the run measured.
        protocol: The study it ran.
        folder: An existing folder.

    Returns:
        The path of the page.

    Raises:
        StorageError: The folder cannot be written.
    """
    path = folder / FILE_NAME
    write_atomic(path, render(results, protocol).encode())
    return path


def render(results: Results, protocol: StudyProtocol) -> str:
    """The page as text; equal input gives equal text."""
    return environment().get_template("report_template.html").render(_context(results, protocol))


def _context(results: Results, protocol: StudyProtocol) -> dict[str, object]:
    metric = results.primary
    gains = in_order(results, metric)
    many = len(results.sites) > verdicts.MANY
    answers = [answer(row, results) for row in gains]
    return {
        "many": many,
        "results": results,
        "protocol": protocol,
        "banners": banners(results),
        "summary": verdicts.summary(gains),
        "answers": [item for item in answers if not many or item.word in ("better", "worse")],
        "folded": [item for item in answers if many and item.word not in ("better", "worse")],
        "metric": wording.METRIC_NAMES.get(metric, ""),
        "metric_meaning": wording.METRIC_MEANINGS.get(metric, ""),
        "lines": [_line(site, results) for site in results.sites],
        "all_line": {name: results.value(name, "all", metric) for name in ("federated", "pooled")},
        "left_one_out": any(row.model.startswith("federated-without:") for row in results.evaluation),
        "other_gains": [row for row in results.gains if row.metric != metric],
        "names": wording.METRIC_NAMES,
        "difference": verdicts.difference,
        "interval": wording.interval,
        "terms": terms(results, protocol),
        "meaning": meaning(results),
        "protected": PROTECTED if results.training_private else (),
        "not_protected": unprotected(results),
        "adversaries": [text for _, text in adversaries(results)],
        "epsilons": [_epsilons(site, results) for site in results.sites],
        "caps": {row.site: row.cap for row in results.caps},
        "facts": _facts(results),
        "evidence": evidence(results),
        "across": cross_lines(results),
        "private": private_section(results),
        **_pictures(results, metric),
    }


def _pictures(results: Results, metric: str) -> Mapping[str, Markup | str]:
    """The SVG elements; `plots` has escaped every name in them."""
    order = results.sites
    drawn = [row for row in results.gains if row.metric == metric]
    rounds = [row for row in results.curves if row.metric == metric]
    return {
        "forest": Markup(plots.forest(drawn, order, metric)) if drawn else "",  # noqa: S704
        "curves": Markup(plots.curves(rounds, metric)) if rounds else "",  # noqa: S704
        "spent": Markup(plots.spent(results.claims, results.caps, order)) if results.epsilon else "",  # noqa: S704
    }


def in_order(results: Results, metric: str) -> list[GainRow]:
    """The gains in one metric, in the order of the sites (smallest first)."""
    places = {site: place for place, site in enumerate(results.sites)}
    return sorted((row for row in results.gains if row.metric == metric), key=lambda row: places[row.site])


def answer(row: GainRow, results: Results) -> Answer:
    """What the run answers to one hospital."""
    word = verdicts.gain_of(row).word
    sizes = {cohort.site: cohort.patients for cohort in results.cohorts}
    return Answer(
        site=row.site,
        patients=sizes.get(row.site),
        word=word,
        symbol=verdicts.SYMBOLS[word],
        sentence=verdicts.sentence(row),
    )


def _line(site: str, results: Results) -> SiteLine:
    metric = results.primary
    row = next((r for r in results.gains if (r.site, r.metric) == (site, metric)), None)
    held_out = next((str(c.held_out) for c in results.cohorts if c.site == site), wording.NOTHING)

    def value(model: str) -> str:
        return wording.number(results.value(model, site, metric))

    return SiteLine(
        site=site,
        held_out=held_out,
        joint=value("federated"),
        own=value(f"local:{site}"),
        pooled=value("pooled"),
        unseen=value(f"federated-without:{site}"),
        difference=verdicts.difference(row) if row else wording.NOTHING,
        chance=_chance(row),
    )


def _chance(row: GainRow | None) -> str:
    known = row is not None and row.probability_better == row.probability_better
    return f"{row.probability_better:.0%}" if row and known else wording.NOTHING


def _epsilons(site: str, results: Results) -> EpsilonLine:
    both = [
        {row.adversary: row.value for row in rows if row.site == site}
        for rows in (results.epsilon, results.replaced)
    ]

    def cell(name: str) -> str:
        added, replaced = (stated(values[name]) if name in values else wording.NOTHING for values in both)
        return added if added == replaced or not both[1] else f"{added} ({replaced})"

    return EpsilonLine(site=site, cells=tuple(cell(name) for name, _ in adversaries(results)))


def _facts(results: Results) -> Sequence[tuple[str, str]]:
    """Where the numbers come from, so that somebody else can check them."""
    unknown = "not recorded"
    return (
        ("Study", results.study),
        ("Protocol SHA-256", results.protocol_digest or unknown),
        ("Data SHA-256", results.data_digest or unknown),
        ("Code", f"wardround {results.code_version or unknown}"),
        ("Code SHA-256", results.code_digest or unknown),
        ("Rounds", str(results.rounds)),
        ("Hospitals left out, below the protocol's minimum", str(results.left_out_sites)),
    )
