"""What changed between two versions of a study, term by term, in words that the protocol's own documentation uses.

Every term of the protocol is compared, defaults too: whatever changes the digest is in the list.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from typing import Any, Final, Literal, cast, get_args

from wardround.common.study.explain import keys
from wardround.common.study.outcomes import outcome_kind
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.reader import SECTIONS
from wardround.common.study.schema import Feature
from wardround.common.study.terms import SiteTerms
from wardround.common.trust.identity import Roster

What = Literal["added", "removed", "changed"]

NOTHING: Final = ""
"""How an absent term reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One term that differs.

    Attributes:
        what: Whether it was added, removed or changed.
        term: Its name as in `study.toml`, e.g. `privacy.noise_multiplier`; of a feature, with the feature's name.
        before, after: Its value as text; empty where there was none.
        meaning: What the term means.
    """

    what: What
    term: str
    before: str
    after: str
    meaning: str = ""

    def line(self) -> str:
        """One sentence.

        >>> Change(what="changed", term="federation.rounds", before="10", after="30").line()
        'changed: federation.rounds from 10 to 30'
        """
        match self.what:
            case "added":
                return f"added: {self.term} = {self.after}" if self.after else f"added: {self.term}"
            case "removed":
                return f"removed: {self.term}" + (f" (it was {self.before})" if self.before else "")
            case "changed":
                return f"changed: {self.term} from {self.before or 'nothing'} to {self.after or 'nothing'}"


def differences(before: StudyProtocol, after: StudyProtocol) -> tuple[Change, ...]:
    """Every term in which two protocols differ: sections first, then features, then their order.

    Guarantees:
        Empty only if the two have the same digest.
    """
    found = [
        *_changed(_terms(before), _terms(after)),
        *_changed(_features(before), _features(after)),
        *_reordered(before, after),
    ]
    if not found and before.digest != after.digest:  # a term that this list does not know
        found = [Change(what="changed", term="protocol digest", before=before.digest, after=after.digest)]
    return tuple(found)


def roster_differences(before: Roster, after: Roster) -> tuple[Change, ...]:
    """Members that came, went, or have another key."""
    old = {f"member {name}": f"key {key.short}" for name, key in before.sites.items()}
    new = {f"member {name}": f"key {key.short}" for name, key in after.sites.items()}
    return tuple(_changed(old, new))


def _changed(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[Change]:
    for term in dict.fromkeys((*before, *after)):
        old, new = before.get(term), after.get(term)
        if old != new:
            what: What = "added" if old is None else "removed" if new is None else "changed"
            yield Change(
                what=what, term=term, before=old or NOTHING, after=new or NOTHING, meaning=_meaning(term)
            )


def _terms(protocol: StudyProtocol) -> dict[str, str]:
    """Every term outside the features; sites by their name."""
    found = {"seed": _text(protocol.seed), "outcome.kind": outcome_kind(protocol.outcome)}
    for section in ("outcome", *SECTIONS):
        terms = getattr(protocol, section)
        names = () if terms is None else _names(terms)
        found |= {f"{section}.{name}": _text(getattr(terms, name)) for name in names}
    for site in protocol.federation.sites:
        found[f"federation.sites {site.name}"] = _pairs(site, SiteTerms)
    for group in protocol.evaluation.groups if protocol.evaluation else ():
        found[f"evaluation.groups {group.column}"] = _text(group.values)
    return found


def _features(protocol: StudyProtocol) -> dict[str, str]:
    return {f"features {each.name}": _pairs(each, Feature) for each in protocol.features}


def _reordered(before: StudyProtocol, after: StudyProtocol) -> Iterator[Change]:
    """The order of features is that of the model's inputs, and part of the digest; so is that of sites."""
    orders = {
        "order of the features": [[each.name for each in one.features] for one in (before, after)],
        "order of the sites": [[each.name for each in one.federation.sites] for one in (before, after)],
    }
    for term, (old, new) in orders.items():
        common = set(old) & set(new)
        if [name for name in old if name in common] != [name for name in new if name in common]:
            yield Change(what="changed", term=term, before="the approved one", after="another")


def _pairs(terms: Any, cls: type) -> str:
    """The terms of one feature or site that say something, in one line."""
    shown = {
        each.name: getattr(terms, each.name)
        for each in fields(cast("Any", cls))
        if each.name != "name" and getattr(terms, each.name) != each.default
    }
    return ", ".join(f"{name} {_text(value)}" for name, value in shown.items())


def _names(terms: Any) -> list[str]:
    """Without those that are entries of their own."""
    return [each.name for each in fields(terms) if not any(map(is_dataclass, get_args(each.type)))]


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(_text, value))
    return "" if value is None else repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


@cache
def _meanings() -> Mapping[str, str]:
    return {key.name: key.meaning for key in keys()}


def _meaning(term: str) -> str:
    return _meanings().get(term, "")
