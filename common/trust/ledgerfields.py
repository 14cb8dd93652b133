"""What fields an entry of a ledger has, and what may stand in them. The rules between entries are in `ledgerstate`."""

from collections.abc import Mapping

from wardround.common.errors import TrustError, UsageError
from wardround.common.trust.ledgernames import HELD_OUT
from wardround.common.trust.signed import is_count, is_digest, is_run
from wardround.common.trust.witness import Seen

_FIELDS = {
    "reserve": frozenset({"study", "protocol", "event", "releases"}),
    "spend": frozenset({"study", "protocol", "round", "attempt", "base_model"}),
    "settle": frozenset({"study", "protocol", "round", "attempt", "update"}),
    "return": frozenset({"study", "protocol", "round", "attempt"}),
    "close": frozenset({"study", "protocol"}),
    "again": frozenset({"study", "protocol"}),
    "torn": frozenset(),
}
_OPTIONAL = {  # later in version 1: left out where unknown
    "reserve": frozenset({"pool", "held_out"}),
    "spend": frozenset({"pool", "run"}),
    "settle": frozenset({"pool", "log"}),
    "return": frozenset({"pool"}),
    "close": frozenset({"pool", "run", "log"}),
    "again": frozenset({"pool"}),
}


def check_fields(kind: str, payload: Mapping[str, object]) -> None:
    """Refuse an entry of an unknown kind, or with other fields than its kind has.

    Raises:
        TrustError: The kind is unknown.
        UsageError: A field is missing, unknown, or of the wrong type or range.
    """
    if kind not in _FIELDS:
        raise TrustError(f"unknown ledger entry of kind {kind!r:.80}", advice="install a newer wardround")
    if payload.keys() - _OPTIONAL.get(kind, frozenset()) != _FIELDS[kind]:
        raise UsageError(f"expected the fields {', '.join(sorted(_FIELDS[kind]))} in a {kind} entry")
    if "log" in payload and kind == "close" and "run" not in payload:
        raise UsageError("expected the run whose log a close entry cosigns")
    for name, value in payload.items():
        if not _fits(name, value):
            raise UsageError(f"the field {name} of a {kind} entry has the wrong type or range")


def is_share(value: object) -> bool:
    """Whether a field is the decimal text of a number above 0 and at most 1.

    >>> is_share("0.25"), is_share("1.5"), is_share("nan"), is_share(0.25)
    (True, False, False, False)
    """
    try:
        return isinstance(value, str) and repr(float(value)) == value and 0 < float(value) <= 1
    except ValueError:
        return False


def _is_seen(value: object) -> bool:
    try:
        return Seen.from_dict(value).size > 0
    except TrustError:
        return False


def _fits(name: str, value: object) -> bool:
    match name:
        case "study":
            return isinstance(value, str) and bool(value)
        case "protocol" | "base_model" | "update":
            return is_digest(value)
        case "run":
            return is_run(value)
        case "releases":
            return is_count(value) and value != 0
        case "event":
            return isinstance(value, dict)
        case "log":
            return _is_seen(value)
        case "pool":
            return value == HELD_OUT
        case "held_out":
            return is_share(value)
    return is_count(value)
