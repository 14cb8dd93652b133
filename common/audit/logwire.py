"""What the log service and its clients say to each other: canonical JSON over gRPC, one object per message.

Service `wardround.log.v1.Log`, mutual TLS. Every request names its `study`, but for `Studies`.

    Studies      {}                                  -> {"studies": {NAME: SIZE}}
    Checkpoint   {"study"}                           -> {"note": TEXT}
    Entries      {"study", "start", "count"}         -> {"start", "lines": [TEXT]}, at least one, at most `count`
    Inclusion    {"study", "number", "size"}         -> {"proof": [BASE64]}
    Consistency  {"study", "old", "size"}            -> {"proof": [BASE64]}
    Cosign       {"study", "size", "line": TEXT}     -> {}
    Follow       {"study", "start"}                  -> a stream of {"start", "lines"} and {"note"}

Only lines that a checkpoint of the coordinator covers are served. In a stream a checkpoint comes after all lines that
it covers. Nothing that the service says is believed: lines carry signatures, and a checkpoint binds all of them.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from wardround.common.errors import TrustError
from wardround.common.formats import canonical
from wardround.common.trust.checkpoint import SignedCheckpoint
from wardround.common.trust.checkpoint import parse as parse_note
from wardround.common.trust.merkle import HASH_SIZE
from wardround.common.trust.signed import bytes_of, exact_keys, is_count, parse, text_of

SERVICE: Final = "wardround.log.v1.Log"
READY: Final = "the log service listens on"
"""What its process says first, with the address."""

LARGEST_REQUEST: Final = 16 * 1024  # bytes
LARGEST_REPLY: Final = 16 * 1024 * 1024  # bytes; a line may be long
LARGEST_LINE: Final = 8 * 1024 * 1024  # bytes
MOST_LINES: Final = 500  # in one message
LONGEST_PROOF: Final = 128  # hashes; a log of 2**64 lines needs no more

_STUDY: Final = re.compile(r"[A-Za-z0-9-]{1,200}")
REQUESTS: Final[Mapping[str, Mapping[str, type]]] = {
    "Studies": {},
    "Checkpoint": {"study": str},
    "Entries": {"study": str, "start": int, "count": int},
    "Inclusion": {"study": str, "number": int, "size": int},
    "Consistency": {"study": str, "old": int, "size": int},
    "Cosign": {"study": str, "size": int, "line": str},
    "Follow": {"study": str, "start": int},
}
"""Method -> the fields of its request; whole numbers are >= 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some lines of a log, in order.

    Attributes:
        start: Number of the first, from 0.
        lines: Each without its newline.
    """

    start: int
    lines: tuple[bytes, ...]


def is_study(name: str) -> bool:
    """Whether a study can have this name, which is then a plain file name."""
    return _STUDY.fullmatch(name) is not None


def path(method: str) -> str:
    """The name of a method on the wire."""
    return f"/{SERVICE}/{method}"


def request(method: str, **fields: str | int) -> bytes:
    """A request."""
    if fields.keys() != REQUESTS[method].keys():
        raise TypeError(f"{method} takes {', '.join(REQUESTS[method])}")
    return canonical(fields)


def read_request(method: str, data: bytes) -> dict[str, Any]:
    """The fields of a request from anybody; each has its type.

    Raises:
        TrustError: It is none of this method.
    """
    found = parse(data, where="the request")
    kinds = REQUESTS[method]
    exact_keys(found, frozenset(kinds), where="the request")
    for name, kind in kinds.items():
        good = is_count(found[name]) if kind is int else isinstance(found[name], kind)
        if not good:
            raise TrustError(
                f"expected {'a whole number >= 0' if kind is int else 'text'} as {name!r} in the request"
            )
    return found


def page_reply(page: Page) -> bytes:
    """A reply with lines.

    Raises:
        TrustError: A line is not UTF-8, as no line of a study log is.
    """
    try:
        lines = [line.decode() for line in page.lines]
    except UnicodeDecodeError:
        raise TrustError("a line of the log is not text") from None
    return canonical({"start": page.start, "lines": lines})


def read_page(data: bytes) -> Page:
    """Read `page_reply` back.

    Raises:
        TrustError: It is none, or has more lines than one may have, or a line with a newline.
    """
    match _reply(data, "start", "lines"):
        case {"start": int(start), "lines": [*lines]} if is_count(start) and 0 < len(lines) <= MOST_LINES:
            kept = tuple(line.encode() for line in lines if isinstance(line, str) and "\n" not in line)
            if len(kept) == len(lines):
                return Page(start=start, lines=kept)
    raise _unexpected("lines of a log")


def note_reply(signed: SignedCheckpoint) -> bytes:
    """A reply with a checkpoint."""
    return canonical({"note": signed.encode().decode()})


def read_note(data: bytes) -> SignedCheckpoint:
    """Read `note_reply` back; nothing is verified.

    Raises:
        TrustError: It is none.
    """
    match _reply(data, "note"):
        case {"note": str(note)}:
            return parse_note(note.encode(), where="the service's checkpoint")
    raise _unexpected("a checkpoint")


def read_step(data: bytes) -> Page | SignedCheckpoint:
    """One message of a stream.

    Raises:
        TrustError: It is neither lines nor a checkpoint.
    """
    return read_note(data) if data.startswith(b'{"note":') else read_page(data)


def proof_reply(proof: Sequence[bytes]) -> bytes:
    """A reply with a proof."""
    return canonical({"proof": [text_of(one) for one in proof]})


def read_proof(data: bytes) -> tuple[bytes, ...]:
    """Read `proof_reply` back; nothing is verified.

    Raises:
        TrustError: It is none, or longer than one can be.
    """
    match _reply(data, "proof"):
        case {"proof": [*hashes]} if len(hashes) <= LONGEST_PROOF:
            found = tuple(bytes_of(one, where="the service's proof") for one in hashes)
            if all(len(one) == HASH_SIZE for one in found):
                return found
    raise _unexpected("a proof")


def studies_reply(sizes: Mapping[str, int]) -> bytes:
    """A reply with the studies that are served."""
    return canonical({"studies": dict(sizes)})


def read_studies(data: bytes) -> dict[str, int]:
    """Read `studies_reply` back.

    Raises:
        TrustError: It is none.
    """
    match _reply(data, "studies"):
        case {"studies": dict(sizes)} if all(
            is_study(str(name)) and is_count(size) for name, size in sizes.items()
        ):
            return {str(name): size for name, size in sizes.items()}
    raise _unexpected("the names of studies")


def _reply(data: bytes, *names: str) -> dict[str, object]:
    if len(data) > LARGEST_REPLY:
        raise _unexpected("a shorter reply")
    found = parse(data, where="the service's reply")
    exact_keys(found, frozenset(names), where="the service's reply")
    return found


def _unexpected(what: str) -> TrustError:
    return TrustError(f"expected {what} from the log service, found something else")
