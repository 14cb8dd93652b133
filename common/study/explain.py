"""What each key of `study.toml` means: the text that stands in the docstring of its dataclass, and nowhere else.

>>> print(explain("privacy.delta"))
privacy.delta
  The lifetime delta at which epsilon is stated.
  A number; default 1e-05.
"""

import difflib
import inspect
import math
import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from typing import Any, Final, Literal, cast, get_args, get_origin

from wardround.common.errors import UsageError
from wardround.common.study.decode import field_types
from wardround.common.study.evaluation import EvaluationGroup
from wardround.common.study.outcomes import OUTCOME_KINDS
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.reader import SECTIONS
from wardround.common.study.schema import Feature
from wardround.common.study.terms import SiteTerms
from wardround.common.study.writer import quoted

_WIDTH: Final = 100
_WORDS: Final = {str: "text", int: "whole number", float: "number"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One key of `study.toml`.

    Attributes:
        name: Dotted, e.g. `privacy.delta`.
        meaning: The text of the docstring, in one line.
        form: Type or allowed words.
        default: How the default is written; `required` where there is none.
        kinds: The outcome kinds that have this key; empty outside `[outcome]`.
    """

    name: str
    meaning: str
    form: str
    default: str
    kinds: tuple[str, ...] = ()

    @property
    def limited(self) -> bool:
        """Whether only some outcome kinds have this key."""
        return 0 < len(self.kinds) < len(OUTCOME_KINDS)

    def text(self) -> str:
        """The explanation as printed."""
        only = f" Only with kind {', '.join(self.kinds)}." if self.limited else ""
        default = self.default if self.default == "required" else f"default {self.default}"
        facts = f"{self.form[0].upper()}{self.form[1:]}; {default}.{only}"
        lines = [part for whole in (self.meaning, facts) for part in textwrap.wrap(whole, _WIDTH)]
        return "\n".join([self.name, *(f"  {line}" for line in lines)])


def explain(key: str) -> str:
    """The meaning, type and default of a key; of a section's name, of all its keys; of nothing, all names.

    Raises:
        UsageError: No such key; the nearest ones are named.
    """
    known = list(keys())
    if not key:
        return "\n".join(dict.fromkeys(each.name for each in known))
    found = [each for each in known if each.name == key] or [
        each for each in known if each.name.startswith(f"{key}.")
    ]
    if not found:
        raise UsageError(f"no key {key!r} in a study protocol", advice=_nearest(key, known))
    return "\n\n".join(each.text() for each in found)


def keys() -> Iterator[Key]:
    """Every key of `study.toml`, in the order of the file; an outcome key once per different meaning."""
    yield from _keys("", StudyProtocol, only=("seed",))
    yield from _keys("study", SECTIONS["study"])
    yield from _outcome_keys()
    for section in ("cohort", "inputs", "model", "federation", "fairness", "privacy"):
        yield from _keys(section, SECTIONS[section])
    yield from _keys("federation.sites", SiteTerms)
    yield from _keys("evaluation", SECTIONS["evaluation"])
    yield from _keys("evaluation.groups", EvaluationGroup)
    yield from _keys("monitoring", SECTIONS["monitoring"])
    yield from _keys("features", Feature)


def _outcome_keys() -> Iterator[Key]:
    kinds = Key(
        name="outcome.kind", meaning="What is predicted.", form=_one_of(OUTCOME_KINDS), default="required"
    )
    yield kinds
    merged: dict[tuple[str, str, str, str], list[str]] = {}
    for kind, cls in OUTCOME_KINDS.items():
        for key in _keys("outcome", cls):
            merged.setdefault((key.name, key.meaning, key.form, key.default), []).append(kind)
    for (name, meaning, form, default), owners in merged.items():
        yield Key(name=name, meaning=meaning, form=form, default=default, kinds=tuple(owners))


def _keys(section: str, cls: type, only: tuple[str, ...] = ()) -> Iterator[Key]:
    meanings, types = attributes(cls), field_types(cls)
    for each in fields(cast("Any", cls)):
        if (not only or each.name in only) and not _is_section(types[each.name]):
            yield Key(
                name=f"{section}.{each.name}".lstrip("."),
                meaning=meanings.get(each.name, ""),
                form=_form(types[each.name]),
                default=_default(each),
            )


def attributes(cls: type) -> Mapping[str, str]:
    """The entries of the `Attributes:` section of a docstring, each in one line."""
    doc = inspect.cleandoc(cls.__doc__ or "")
    section = re.search(r"^Attributes:\n((?:[ ]{4}.*(?:\n|$)|\n)*)", doc, re.MULTILINE)
    text = textwrap.dedent(section.group(1)) if section else ""
    entries = re.findall(r"^(\w+): (.*(?:\n[ ]+.*)*)", text, re.MULTILINE)
    return {name: " ".join(meaning.split()) for name, meaning in entries}


def _is_section(hint: Any) -> bool:
    return get_origin(hint) is tuple and is_dataclass(get_args(hint)[0])


def _form(hint: Any) -> str:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return _one_of(arguments)
    if origin is tuple:
        return f"list of {_WORDS[arguments[0]]}s".replace("texts", "text")
    word = _WORDS.get(hint) or _WORDS[next(each for each in arguments if each in _WORDS)]
    return word if word == "text" else f"a {word}"


def _one_of(words: Any) -> str:
    return f"one of {', '.join(words)}"


def _default(each: Field[Any]) -> str:
    if each.default_factory is not MISSING:
        return "empty"
    match each.default:
        case value if value is MISSING:
            return "required"
        case None:
            return "absent"
        case () | "":
            return "empty"
        case value:
            return quoted(value) if isinstance(value, str) else _number(value)


def _number(value: object) -> str:
    return "no limit" if value in (math.inf, -math.inf) else repr(value)


def _nearest(key: str, known: list[Key]) -> str:
    names = list(dict.fromkeys(each.name for each in known))
    same = [name for name in names if name.rpartition(".")[2] == key.rpartition(".")[2]]
    near = same or difflib.get_close_matches(key, names, n=3, cutoff=0.5)
    return f"nearest: {', '.join(near)}" if near else "`wardround study explain` lists all keys"
