"""Reading and writing `study.toml`.

The file is the protocol, nothing else: the same file gives the same digest everywhere, and a protocol written
by `dumps` reads back equal. Thousands of features that share their terms are one `[[features]]` entry with
`names`, whose `low`, `high`, `mean` and `sd` may be lists.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from wardround.common.errors import ProtocolError, UsageError
from wardround.common.formats import check_header
from wardround.common.privacy.terms import PrivacyTerms
from wardround.common.study.decode import (
    as_table,
    as_tables,
    build,
    construct,
    convert,
    field_types,
    parse,
    read_text,
    refuse_missing,
    refuse_unknown,
    required,
)
from wardround.common.study.evaluation import EvaluationTerms
from wardround.common.study.fairness import FairnessTerms
from wardround.common.study.monitoring import MonitoringTerms
from wardround.common.study.outcomes import OUTCOME_KINDS, Outcome
from wardround.common.study.protocol import FORMAT, VERSION, StudyProtocol
from wardround.common.study.schema import Feature
from wardround.common.study.terms import CohortTerms, FederationTerms, InputTerms, ModelTerms, StudyTerms
from wardround.common.study.writer import dumps

__all__ = ["SECTIONS", "dumps", "load", "loads"]

SECTIONS: Final[Mapping[str, type]] = {
    "study": StudyTerms,
    "cohort": CohortTerms,
    "inputs": InputTerms,
    "model": ModelTerms,
    "federation": FederationTerms,
    "fairness": FairnessTerms,
    "privacy": PrivacyTerms,
    "evaluation": EvaluationTerms,
    "monitoring": MonitoringTerms,
}
"""The sections that are one table of terms each; `outcome` and `features` have their own shape."""

_TOP: Final = ("format", "version", "seed", "outcome", "features", *SECTIONS)
_NEEDED: Final = ("study", "outcome", "features", "cohort", "privacy")
_PER_FEATURE: Final = ("low", "high", "mean", "sd")


def load(path: Path | str) -> StudyProtocol:
    """The protocol of a `study.toml`.

    Raises:
        ProtocolError: The file cannot be read or its terms are not acceptable; names the section and key.
        PrivacyError: The terms together would break a privacy rule.
        StorageError: It is another kind of file, or was written for a newer release.
    """
    return loads(read_text(Path(path)), str(path))


def loads(text: str, where: str) -> StudyProtocol:
    """The protocol in a TOML text; `where` names it in messages.

    Raises:
        ProtocolError, PrivacyError, StorageError: As `load`.
    """
    top = parse(text, where)
    check_header(top, name=FORMAT, version=VERSION, where=where)
    refuse_unknown(top, _TOP, f"{where}:")
    refuse_missing(top, _NEEDED, f"{where}:")
    values: dict[str, object] = {
        name: build(cls, top[name], f"{where}: [{name}]") for name, cls in SECTIONS.items() if name in top
    }
    values["outcome"] = _outcome(top["outcome"], f"{where}: [outcome]")
    values["features"] = _features(top["features"], where)
    if "seed" in top:
        values["seed"] = convert(int, top["seed"], f"{where}: seed")
    return construct(StudyProtocol, values, f"{where}:")


def _outcome(table: object, where: str) -> Outcome:
    terms = dict(as_table(table, where))
    refuse_missing(terms, ["kind"], where)
    kind = terms.pop("kind")
    if not isinstance(kind, str) or kind not in OUTCOME_KINDS:
        raise ProtocolError(f"{where} kind is one of {', '.join(OUTCOME_KINDS)}; found {kind!r}")
    return build(OUTCOME_KINDS[kind], terms, where)


def _features(blocks: object, where: str) -> tuple[Feature, ...]:
    found: list[Feature] = []
    for position, block in enumerate(as_tables(blocks, f"{where}: [[features]]"), start=1):
        place = f"{where}: [[features]] entry {position}"
        found.extend(_block(as_table(block, place), place))
    return tuple(found)


def _block(block: Mapping[str, Any], where: str) -> list[Feature]:
    """The features of one entry; a shared term is checked once, however many features share it."""
    types = field_types(Feature)
    refuse_unknown(block, ("names", *types), where)
    refuse_missing(block, [term for term in required(Feature) if term != "name"], where)
    names = _names(block, where)
    own = {term: block[term] for term in _PER_FEATURE if isinstance(block.get(term), list)}
    shared = {
        term: convert(types[term], value, f"{where} {term}")
        for term, value in block.items()
        if term not in ("name", "names", *own)
    }
    lists = {term: _per_feature(values, names, f"{where} {term}") for term, values in own.items()}
    columns = [{"name": name, **shared} for name in names]
    for term, values in lists.items():
        for column, value in zip(columns, values, strict=True):
            column[term] = value
    return _construct_all(columns, where)


def _names(block: Mapping[str, Any], where: str) -> tuple[str, ...]:
    if ("name" in block) == ("names" in block):
        raise ProtocolError(f"{where} needs either `name` or `names`")
    if "name" in block:
        return (str(convert(str, block["name"], f"{where} name")),)
    names = tuple(
        str(convert(str, name, f"{where} names")) for name in as_tables(block["names"], f"{where} names")
    )
    if not names:
        raise ProtocolError(f"{where} names: list at least one feature")
    return names


def _per_feature(values: list[object], names: tuple[str, ...], where: str) -> list[object]:
    if len(values) != len(names):
        raise ProtocolError(f"{where} has {len(values)} numbers for {len(names)} names")
    return [convert(float, value, where) for value in values]


def _construct_all(columns: list[dict[str, Any]], where: str) -> list[Feature]:
    try:
        return [Feature(**terms) for terms in columns]
    except (ProtocolError, UsageError) as error:
        raise ProtocolError(f"{where} {error}", advice=error.advice) from error
