r"""Writing `study.toml`: the one text of a protocol.

Terms with a default are written too, so that a reader sees every knob; empty ones and those of single
features are left out. Consecutive features with the same shared terms become one entry.

    >>> quoted('a "b"\n')
    '"a \\"b\\"\\n"'
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import MISSING, fields, is_dataclass
from itertools import groupby
from typing import Any, Final, cast, get_args

from wardround.common.study.fairness import FairnessTerms
from wardround.common.study.outcomes import outcome_kind
from wardround.common.study.protocol import FORMAT, VERSION, StudyProtocol
from wardround.common.study.schema import Feature

_PER_FEATURE: Final = ("low", "high", "mean", "sd")
_SHORT: Final = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"}
_WIDTH: Final = 110


def dumps(protocol: StudyProtocol) -> str:
    """The TOML text of a protocol; `reader.loads` gives back an equal one."""
    blocks = [_head(protocol), *_sections(protocol), *_features(protocol.features)]
    return "\n\n".join("\n".join(lines) for lines in blocks) + "\n"


def quoted(text: str) -> str:
    """A TOML basic string."""
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(character: str) -> str:
    if character in _SHORT:
        return _SHORT[character]
    return character if character.isprintable() else f"\\U{ord(character):08X}"


def _head(protocol: StudyProtocol) -> list[str]:
    seed = [] if protocol.seed is None else [f"seed = {protocol.seed}"]
    return [f"format = {quoted(FORMAT)}", f"version = {VERSION}", *seed]


def _sections(protocol: StudyProtocol) -> Iterator[list[str]]:
    yield ["[study]", *_terms(protocol.study)]
    yield ["[outcome]", f"kind = {quoted(outcome_kind(protocol.outcome))}", *_terms(protocol.outcome)]
    yield ["[cohort]", *_terms(protocol.cohort)]
    yield ["[inputs]", *_terms(protocol.inputs)]
    yield ["[model]", *_terms(protocol.model)]
    yield ["[federation]", *_terms(protocol.federation)]
    for site in protocol.federation.sites:
        yield ["[[federation.sites]]", *_chosen(site)]
    if protocol.fairness != FairnessTerms():
        yield ["[fairness]", *_terms(protocol.fairness)]
    yield ["[privacy]", *_terms(protocol.privacy)]
    if protocol.evaluation is not None:
        yield ["[evaluation]", *_terms(protocol.evaluation)]
        for group in protocol.evaluation.groups:
            yield ["[[evaluation.groups]]", *_chosen(group)]
    if protocol.monitoring is not None:
        yield ["[monitoring]", *_terms(protocol.monitoring)]


def _terms(section: Any) -> Iterator[str]:
    """Every term that is not empty; sites of a federation and groups of an evaluation have entries of their own."""
    for each in fields(section):
        value = getattr(section, each.name)
        left_out = _has_entries(each.type) or (value in ("", ()) and value == each.default)
        if not left_out:
            yield _line(each.name, _literal(value, float_term=_is_float(each.type)))


def _chosen(section: Any, *, leave_out: Iterable[str] = ()) -> Iterator[str]:
    """Only the terms that differ from their default."""
    for each in fields(section):
        value = getattr(section, each.name)
        default_is_missing = each.default is MISSING
        if each.name not in leave_out and (default_is_missing or value != each.default):
            yield _line(each.name, _literal(value, float_term=_is_float(each.type)))


def _has_entries(annotation: object) -> bool:
    return any(is_dataclass(each) for each in get_args(annotation))


def _is_float(annotation: object) -> bool:
    return annotation is float or annotation == tuple[float, ...]


def _literal(value: object, *, float_term: bool) -> str | list[str]:
    if isinstance(value, tuple):
        return [str(_literal(item, float_term=float_term)) for item in value]
    if isinstance(value, str):
        return quoted(value)
    return repr(float(value)) if float_term and isinstance(value, int | float) else str(value)


def _line(key: str, literal: str | Sequence[str]) -> str:
    if isinstance(literal, str):
        return f"{key} = {literal}"
    whole = f"{key} = [{', '.join(literal)}]"
    return whole if len(whole) <= _WIDTH else "\n".join([f"{key} = [", *_wrapped(literal), "]"])


def _wrapped(items: Sequence[str]) -> Iterator[str]:
    row = "   "
    for item in items:
        if len(row) + len(item) + 2 > _WIDTH and row.strip():
            yield row
            row = "   "
        row += f" {item},"
    yield row


def _features(features: Sequence[Feature]) -> Iterator[list[str]]:
    for _, group in groupby(features, key=_shared):
        members = list(group)
        names = [quoted(feature.name) for feature in members]
        first = _line("name", names[0]) if len(names) == 1 else _line("names", names)
        shared = _chosen(members[0], leave_out=("name", *_PER_FEATURE))
        yield ["[[features]]", first, *shared, *_numbers(members)]


def _shared(feature: Feature) -> tuple[object, ...]:
    """What one entry must have in common: all shared terms, and which of the numbers are the default."""
    terms = [
        getattr(feature, each.name) for each in fields(Feature) if each.name not in ("name", *_PER_FEATURE)
    ]
    return (*terms, feature.low == _default("low"), feature.high == _default("high"))


def _numbers(members: Sequence[Feature]) -> Iterator[str]:
    for term in _PER_FEATURE:
        values = [float(getattr(feature, term)) for feature in members]
        if len(set(values)) > 1:
            yield _line(term, [repr(value) for value in values])
        elif values[0] != _default(term):
            yield _line(term, repr(values[0]))


def _default(term: str) -> float:
    return float(cast("float", next(each.default for each in fields(Feature) if each.name == term)))
