"""JSON to frozen dataclasses and back: an unknown or missing key or a wrong type is refused by name.

JSON has neither NaN nor infinity: such numbers are written as null, and what null means is said for each class.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, fields
from typing import Any, cast

from wardround.common.errors import StorageError
from wardround.common.formats import or_null


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What a file may hold.

    Attributes:
        rows: Fields of the outermost class that hold a list of rows, and the class of the row.
        null: What null stands for in a number of each class; in other classes it is refused.
    """

    rows: Mapping[str, type[Any]]
    null: Mapping[type[Any], float]


def plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as JSON can hold it: null for a number that is not finite."""
    return {name: or_null(value) for name, value in row.items()}


def parsed(text: str, where: str) -> dict[str, Any]:
    """The object that a text holds.

    Raises:
        StorageError: It is no JSON object, or holds a number that JSON has not.
    """
    try:
        found = json.loads(text, parse_constant=_refuse_constant)
    except ValueError as error:
        raise StorageError(f"expected JSON in {where}: {error}") from None
    if not isinstance(found, dict):
        raise StorageError(f"expected a JSON object in {where}, found {type(found).__name__}")
    return found


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON; a missing number is null")


def typed(kind: type[Any], found: object, where: str, shape: Shape) -> dict[str, Any]:
    """The constructor arguments of a dataclass from a JSON object, every field checked.

    Raises:
        StorageError: A field is unknown, absent or of a wrong type; the message names `where` and the field.
    """
    if not isinstance(found, dict):
        raise StorageError(f"expected an object in {where}, found {type(found).__name__}")
    known = {field.name: field for field in fields(kind)}
    if unknown := sorted(set(found) - set(known)):
        raise StorageError(f"{where}: unknown field {', '.join(unknown)}")
    absent = [name for name, field in known.items() if field.default is MISSING and name not in found]
    if absent:
        raise StorageError(f"{where}: field {', '.join(absent)} is missing")
    return {
        name: _value(kind, known[name], value, f"{where}: {name}", shape) for name, value in found.items()
    }


def _value(kind: type[Any], field: Field[Any], value: object, where: str, shape: Shape) -> object:
    if kind not in shape.rows.values() and field.name in shape.rows:
        return _rows(shape.rows[field.name], value, where, shape)
    if value is None and field.type is float and kind in shape.null:
        return shape.null[kind]
    if field.type is float and type(value) in (int, float):
        return _finite(float(cast(float, value)), where)
    if field.type == tuple[str, ...] and isinstance(value, list) and all(type(v) is str for v in value):
        return tuple(value)
    if type(value) is not field.type:
        raise StorageError(f"{where}: found {type(value).__name__}, which it cannot be")
    return value


def _finite(value: float, where: str) -> float:
    if not math.isfinite(value):
        raise StorageError(f"{where}: the number is too large to be meant")
    return value


def _rows(kind: type[Any], found: object, where: str, shape: Shape) -> tuple[Any, ...]:
    if not isinstance(found, list):
        raise StorageError(f"{where}: expected a list, found {type(found).__name__}")
    return tuple(kind(**typed(kind, row, f"{where}[{number}]", shape)) for number, row in enumerate(found))
