"""The terms of a protocol as plain values, from which the signed bytes are made."""

from collections.abc import Hashable, Mapping
from dataclasses import fields
from functools import cache
from typing import Any, Final, cast

from wardround.common.study.fairness import FairnessTerms

_LATER: Final[Mapping[str, object]] = {
    "honest_sites": 0,
    "most_patients": 32768,
    "average_last": 1,
    "first_round": "gradients",
    "fairness": FairnessTerms(),
    "evaluation": None,
    "monitoring": None,
}
"""Terms that version 1 gained after studies were signed, with the value that means what was done before."""


def plain_fields(terms: object) -> dict[str, object]:
    """Every term of a section by name, those of `_LATER` only where they say something."""
    names = _field_names(cast("Hashable", type(terms)))
    values = {name: getattr(terms, name) for name in names}
    return {
        name: _plain(value) for name, value in values.items() if name not in _LATER or value != _LATER[name]
    }


@cache
def _field_names(cls: Hashable) -> tuple[str, ...]:
    return tuple(each.name for each in fields(cast("Any", cls)))


def _plain(value: object) -> object:
    match value:
        case str() | None:
            return value
        # Equal terms must sign alike: 30 and 30.0, 0.0 and -0.0. An integer beyond 2^53 is kept exactly.
        case int() | float():
            return repr(float(value) + 0.0) if float(value) == value else str(value)
        case tuple():
            return [_plain(item) for item in value]
        case _:
            return plain_fields(value)
