"""From the columns of a table to features, and to the reasons why a column is not one.

Kinds come from what the cells hold, modalities from the prefix of names, ranges and moments from the values,
rounded. Every constant is marked `DRAFTED`.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from wardround.common.study.draft_table import YES, DraftTable
from wardround.common.study.rounding import outwards, significant
from wardround.common.study.schema import DRAFTED, Feature, Missing

Floats = NDArray[np.float64]

CLINICAL: Final = "clinical"
PREFIXES: Final = {
    **dict.fromkeys(("expr", "mrna", "rna", "gene", "rnaseq"), "expression"),
    **dict.fromkeys(("mut", "mutation"), "mutation"),
    **dict.fromkeys(("meth", "methylation"), "methylation"),
    **dict.fromkeys(("arm", "cna", "cnv", "cn"), "copy-number"),
    **dict.fromkeys(("prot", "rppa", "protein"), "protein"),
    **dict.fromkeys(("mirna", "mir"), "mirna"),
    **dict.fromkeys(("metab", "metabolite"), "metabolite"),
    **dict.fromkeys(("snp", "gt"), "genotype"),
}
"""What the part of a column's name before the first underscore says about its assay."""
FEWEST_OF_A_MODALITY: Final = 3

MOST_CATEGORIES: Final = 30
FEWEST_PER_CATEGORY: Final = 50
"""With so many rows for each, up to twice as many categories are kept."""
MOST_CODES: Final = 6
MISSING_SHARE: Final = 0.05
SKEWED: Final = 2.0

_IDENTIFIER: Final = re.compile(r"(^|_)(id|pid|mrn|uuid|guid|barcode|unnamed:.*)($|_)", re.IGNORECASE)
_AFTERWARDS: Final = re.compile(
    r"(^|_)(vital|death|dead|deceased|last|follow_?up|(os|dfs|dss|pfs|pfi|rfs|efs)_\w+)($|_)", re.IGNORECASE
)
_PLACE: Final = re.compile(
    r"(hospital|cent(er|re)|site|tss|clinic|ward|institution|country|region|state|city|zip|postcode)"
    r"(_?(name|code|number|no))?",
    re.IGNORECASE,
)
_TREATMENT: Final = re.compile(
    r"chemo|radio_?therap|radiation|hormone_?therap|treatment|therapy|surgery|drug|response", re.IGNORECASE
)
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}.*|\d{1,2}[./]\d{1,2}[./]\d{2,4}")
_SPLIT_WORDS: Final = {"train", "training", "test", "testing", "val", "valid", "validation", "unused"}


def modalities(names: Sequence[str]) -> list[str]:
    """The assay of each column: by its prefix where at least three columns share it, else `clinical`.

    Example:
        >>> modalities(["age", "mut_TP53", "mut_KRAS", "mut_EGFR", "arm_length"])
        ['clinical', 'mutation', 'mutation', 'mutation', 'clinical']
    """
    found = [PREFIXES.get(name.partition("_")[0].lower(), "") if "_" in name else "" for name in names]
    counts = Counter(found)
    return [each if each and counts[each] >= FEWEST_OF_A_MODALITY else CLINICAL for each in found]


def unusable(table: DraftTable, place: int) -> str:
    """Why a column cannot be a feature, whatever the outcome; empty if it can."""
    name, words, values = table.names[place], table.words[place], table.known(place)
    distinct = len(np.unique(values))
    if distinct < 2:
        return "the same value everywhere, or none"
    if _IDENTIFIER.search(name) or _counts_rows(values, distinct):
        return "looks like an identifier"
    if _AFTERWARDS.search(name):
        return "looks like follow-up, which is known only afterwards"
    if _PLACE.fullmatch(name):
        return "names a place"
    if not words:
        return ""
    if all(_DATE.fullmatch(word) for word in words):
        return "holds dates"
    if {word.casefold() for word in words} <= _SPLIT_WORDS:
        return "names a train and test split"
    most = max(MOST_CATEGORIES, min(2 * MOST_CATEGORIES, len(values) // FEWEST_PER_CATEGORY))
    return "too many spellings: free text or an identifier" if distinct > most else ""


def _counts_rows(values: Floats, distinct: int) -> bool:
    """Whether whole numbers run through a gapless range without repeating: a row number."""
    whole = bool((values == np.round(values)).all())
    return whole and distinct == len(values) > 10 and values.max() - values.min() == distinct - 1


def feature(table: DraftTable, place: int, modality: str) -> Feature:
    """The drafted feature of a usable column."""
    name, words, values = table.names[place], table.words[place], table.known(place)
    often_missing = len(values) < (1 - MISSING_SHARE) * len(table.codes)
    missing: Missing = "indicator" if modality == CLINICAL and often_missing else "reference"
    if len(words) == 2 or np.array_equal(np.unique(values), (0, 1)):
        return _binary(name, modality, missing, values, words)
    if not words:
        return _continuous(name, modality, missing, values)
    return Feature(
        name=name, kind="categorical", modality=modality, categories=words, missing=missing, source=DRAFTED
    )


def _binary(name: str, modality: str, missing: Missing, values: Floats, words: tuple[str, ...]) -> Feature:
    """Of two words, one that means yes is the one; the mean is the share of it."""
    ordered = tuple(sorted(words, key=lambda word: (YES.fullmatch(word) is not None, word)))
    share = float((values == 1).mean())
    if ordered != words:
        share = 1 - share
    return Feature(
        name=name,
        kind="binary",
        modality=modality,
        mean=significant(share),
        sd=significant(math.sqrt(share * (1 - share))),
        categories=ordered,
        missing=missing,
        source=DRAFTED,
    )


def _continuous(name: str, modality: str, missing: Missing, values: Floats) -> Feature:
    low, high = outwards(values)
    counts = low >= 0 and high >= 10 and _skewness(values) > SKEWED
    used = np.log1p(values) if counts else values
    return Feature(
        name=name,
        kind="continuous",
        modality=modality,
        low=low,
        high=high,
        transform="log1p" if counts else "none",
        mean=significant(float(used.mean())),
        sd=significant(float(used.std())),
        missing=missing,
        source=DRAFTED,
    )


def _skewness(values: Floats) -> float:
    centred = values - values.mean()
    return float((centred**3).mean() / (centred**2).mean() ** 1.5)


def often_absent(table: DraftTable, features: Sequence[Feature]) -> tuple[str, ...]:
    """Modalities that some rows lack as a whole, in order of appearance."""
    places = {name: place for place, name in enumerate(table.names)}
    groups: dict[str, list[int]] = {}
    for each in features:
        groups.setdefault(each.modality, []).append(places[each.name])
    groups.pop(CLINICAL, None)
    return tuple(name for name, own in groups.items() if np.isnan(table.codes[:, own]).all(axis=1).any())


def remarks(table: DraftTable, features: Sequence[Feature]) -> Iterator[tuple[str, list[str]]]:
    """What a person should look at: (remark, names of features)."""
    yield (
        "looks like treatment: keep only what is known at the index date",
        [each.name for each in features if _TREATMENT.search(each.name)],
    )
    yield (
        "few whole numbers, read as a number: make it categorical if they are codes",
        [each.name for each in features if each.modality == CLINICAL and _few_numbers(table, each)],
    )


def _few_numbers(table: DraftTable, each: Feature) -> bool:
    if each.kind != "continuous":
        return False
    distinct = np.unique(table.known(table.names.index(each.name)))
    return len(distinct) <= MOST_CODES and bool((distinct == np.round(distinct)).all())
