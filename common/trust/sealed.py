"""Small signed files that people send each other: one JSON object with format, version and a signature.

The signature covers the canonical JSON of everything else, for a domain of its own per format, so a file of one kind
never passes for another. The file itself is laid out for reading; a mail program that changes line ends does no harm.
What is not known, not signed, or there twice is refused.

Assumes that the caller decides whether the key that signed is one to believe.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from wardround.common.errors import StorageError, TrustError
from wardround.common.formats import canonical, check_header, header
from wardround.common.trust.identity import PublicKey, SigningKey
from wardround.common.trust.signed import bytes_of, exact_keys, text_of

LONGEST: Final = 4_000_000  # bytes

_KIND_NAMES: Final = {
    "wardround-join-request": "a join request (request.json, from a hospital)",
    "wardround-invite": "an invite (from the coordinator, for one hospital)",
    "wardround-signed-roster": "a signed roster (roster.json, from the coordinator)",
    "wardround-consortium": "a hospital's consortium.json, which is not for sending",
    "wardround-roster": "a roster without a signature",
    "wardround-log-pass": "a pass for a log service (from the coordinator, for one witness)",
    "wardround-bundle": "a study bundle (NAME.wardround, from the coordinator)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of file.

    Attributes:
        format: Its name, as in the file.
        version: The newest version that this release reads and writes.
        fields: Exactly these stand beside format, version and signature.
        longest: Bytes of the largest file.
    """

    format: str
    version: int
    fields: frozenset[str]
    longest: int = LONGEST

    @property
    def domain(self) -> str:
        """What its signature is good for, and nothing else."""
        return f"application/vnd.{self.format}+json"


def layout(fields: Mapping[str, object]) -> bytes:
    """A JSON object for a person to read, one field per line, with a line break at the end."""
    return json.dumps(fields, indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def seal_file(key: SigningKey, kind: Kind, fields: Mapping[str, object]) -> bytes:
    """Sign a file. The same arguments give the same bytes.

    Args:
        key: Who signs.
        kind: The kind of file.
        fields: Its fields: text, whole numbers, lists and objects.
    """
    body = {**header(kind.format, kind.version), **fields}
    return layout({**body, "signature": text_of(key.sign(kind.domain, canonical(body)))})


def open_file(
    data: bytes, kind: Kind, *, signer: Callable[[Mapping[str, object]], PublicKey], where: str
) -> Mapping[str, object]:
    """Check a file and give its fields.

    Args:
        data: The bytes, from anybody.
        kind: What it must be.
        signer: The key that must have signed it, given its fields, of which nothing is proven yet.
        where: The file, for messages.

    Guarantees:
        Returns only if the holder of that key signed exactly these fields for this kind.

    Raises:
        StorageError: Another kind of file, or a newer version.
        TrustError: Truncated, changed, or signed by somebody else.
    """
    found = read_json(data, where=where, longest=kind.longest)
    check_kind(found, kind, where=where)
    exact_keys(found, kind.fields | {"format", "version", "signature"}, where=where)
    signature = bytes_of(found.pop("signature"), where=where)
    try:
        signer(found).verify(kind.domain, canonical(found), signature)
    except TrustError as error:
        raise TrustError(f"{where}: {error}", advice=error.advice) from None
    return {name: found[name] for name in kind.fields}


def check_kind(found: Mapping[str, object], kind: Kind, *, where: str) -> None:
    """Refuse another kind of file by its usual name, and a newer version.

    Raises:
        StorageError: Either.
    """
    name = found.get("format")
    if name != kind.format and isinstance(name, str) and name in _KIND_NAMES:
        raise StorageError(
            f"expected {_KIND_NAMES.get(kind.format, kind.format)} in {where}, found {_KIND_NAMES[name]}",
            advice="give the other file",
        )
    check_header(found, name=kind.format, version=kind.version, where=where)


def read_json(data: bytes, *, where: str, longest: int = LONGEST) -> dict[str, object]:
    """One JSON object; no name twice, no number that is not finite.

    Raises:
        TrustError: It is something else, or cut short.
    """
    if len(data) > longest:
        raise TrustError(f"expected at most {longest} bytes in {where}, found more")
    try:
        found = json.loads(data.decode("utf-8-sig"), object_pairs_hook=_once, parse_constant=_refuse)
        canonical(found)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise TrustError(
            f"expected one whole JSON object in {where}, found something else or a part of one",
            advice="the file was cut short or is another one: have it sent again, as an attachment",
        )
    return found


def read_sent(path: Path, *, longest: int = LONGEST) -> bytes:
    """The content of a file that somebody sent; of a longer one the beginning, which no reader accepts.

    Raises:
        StorageError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(longest + 1)
    except OSError as error:
        raise StorageError(
            f"could not read {path}: {error.strerror or error}",
            advice="give the path of the file you received",
        ) from error


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands there twice")
    return found


def _refuse(_: str) -> object:
    raise ValueError("not a finite number")
