"""From a TOML table to a frozen dataclass, strictly: the one way declared files are read.

A key that is not known, a value of another type and a number that is not finite are refused by name, because
a term that is silently ignored is a term that nobody agreed to. The dataclass itself is the schema: its field
names are the keys, its annotations are the types, its defaults say what may be left out.

Source: TOML 1.0; integers are those that fit in 64 bits, as the standard asks.
"""

import difflib
import math
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, cast, get_args, get_origin, get_type_hints

from wardround.common.errors import ProtocolError, UsageError

T = TypeVar("T")

_TOML_WORDS: Final = {bool: "true or false", str: "text", int: "a whole number", float: "a number"}


def read_text(path: Path) -> str:
    """The text of a declared file.

    Raises:
        ProtocolError: It is missing, is not a file, cannot be opened, or is not UTF-8 (naming the line).
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ProtocolError(
            f"could not read {path}: {error.strerror or error}", advice="give the path of a TOML file"
        ) from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ProtocolError(
            f"{path}, line {line}: expected UTF-8 text", advice="save the file again with encoding UTF-8"
        ) from error


def parse(text: str, where: str) -> dict[str, Any]:
    """The tables of a TOML text.

    Raises:
        ProtocolError: It is not TOML; the message names the line and column.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ProtocolError(f"{where} is not valid TOML: {error}") from error
    except RecursionError:
        raise ProtocolError(f"{where} is not valid TOML: nested too deeply") from None
    except ValueError:
        raise ProtocolError(f"{where} is not valid TOML: a number has too many digits") from None


def build(cls: type[T], table: object, where: str) -> T:
    """One dataclass from one table.

    Args:
        cls: A dataclass whose fields are text, numbers, literals, tuples of these, or tuples of dataclasses.
        table: What TOML gave for the section.
        where: The file and section, for messages.

    Raises:
        ProtocolError: Naming the section and the key: unknown, missing, of another type, or out of range.
    """
    found = as_table(table, where)
    known = field_types(cls)
    refuse_unknown(found, known, where)
    refuse_missing(found, required(cls), where)
    values = {name: convert(known[name], value, f"{where} {name}") for name, value in found.items()}
    return construct(cls, values, where)


def construct(cls: Callable[..., T], values: Mapping[str, object], where: str) -> T:
    """Call a dataclass, adding the file and section to whatever it refuses."""
    try:
        return cls(**values)
    except (ProtocolError, UsageError) as error:
        raise ProtocolError(f"{where} {error}", advice=error.advice) from error


def refuse_unknown(table: Mapping[str, object], known: Iterable[str], where: str) -> None:
    """Refuse keys that are not known, suggesting the nearest one that is."""
    names = tuple(known)
    for key in table:
        if key not in names:
            raise ProtocolError(f"{where} unknown key {key!r}", advice=_advice(key, names))


def refuse_missing(table: Mapping[str, object], needed: Iterable[str], where: str) -> None:
    """Refuse a table that lacks required keys, naming all of them."""
    if missing := [name for name in needed if name not in table]:
        raise ProtocolError(f"{where} needs {', '.join(missing)}")


def as_table(value: object, where: str) -> dict[str, Any]:
    """The value, if it is a TOML table."""
    if not isinstance(value, dict):
        raise ProtocolError(f"{where} expected a section with keys, found {describe(value)}")
    return value


def as_tables(value: object, where: str) -> list[Any]:
    """The value, if it is a TOML list."""
    if not isinstance(value, list):
        raise ProtocolError(f"{where} expected a list, found {describe(value)}")
    return value


def convert(hint: Any, value: object, where: str) -> object:
    """A TOML value as the annotated type; an integer is accepted where a number is asked, never a boolean."""
    origin = get_origin(hint)
    if origin is Literal:
        return _word(get_args(hint), value, where)
    if origin is tuple:
        item = get_args(hint)[0]
        return tuple(convert(item, each, where) for each in as_tables(value, where))
    if is_dataclass(hint):
        return build(cast("type[object]", hint), value, f"{where}:")
    return _scalar(hint, value, where)


def describe(value: object) -> str:
    """What a TOML value is, in words, without its content where that is long."""
    match value:
        case bool() | int() | float():
            return str(value).lower() if isinstance(value, bool) else repr(value)
        case str():
            return f"text {value[:40]!r}"
        case list():
            return f"a list of {len(value)}"
        case dict():
            return "a section"
        case _:
            return "a date or time"


def field_types(cls: object) -> dict[str, Any]:
    """The keys of a section and the type of each, in order."""
    hints = get_type_hints(cast("type", cls))
    return {each.name: hints[each.name] for each in _fields(cls)}


def required(cls: object) -> tuple[str, ...]:
    """The keys without a default."""
    return tuple(
        each.name for each in _fields(cls) if each.default is MISSING and each.default_factory is MISSING
    )


def _fields(cls: object) -> tuple[Field[Any], ...]:
    return fields(cast("Any", cls))


def _word(allowed: tuple[str, ...], value: object, where: str) -> str:
    if isinstance(value, str) and value in allowed:
        return value
    message = f"{where} is one of {', '.join(allowed)}; found {describe(value)}"
    raise ProtocolError(message, advice=_advice(value, allowed) if isinstance(value, str) else "")


def _scalar(hint: type, value: object, where: str) -> object:
    number = isinstance(value, int) and not isinstance(value, bool)
    if number and not -(2**63) <= cast("int", value) < 2**63:
        raise ProtocolError(f"{where} does not fit in 64 bits")
    if hint is float and (number or isinstance(value, float)):
        return _finite(float(cast("float", value)), where)
    if (hint is int and number) or (hint in (str, bool) and isinstance(value, hint)):
        return value
    raise ProtocolError(f"{where} expected {_TOML_WORDS[hint]}, found {describe(value)}")


def _finite(value: float, where: str) -> float:
    if not math.isfinite(value):
        raise ProtocolError(f"{where} expected a finite number, found {value}")
    return value


def _advice(key: str, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(key, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}"
