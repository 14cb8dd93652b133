"""Canonical bytes, digests, and the name and version at the head of every file we write.

Canonical JSON here means: UTF-8, keys sorted, no spaces, no NaN or infinity. Floats are allowed only where both
sides computed them from the same text; what is signed carries numbers as decimal strings or integers.

    >>> digest(canonical({"b": 1, "a": "x"}))[:16]
    'cdab067e9f3beb32'
"""

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

from wardround.common.errors import StorageError


def canonical(value: object) -> bytes:
    """The one byte string of a JSON value."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


def digest(data: bytes) -> str:
    """SHA-256 in lower-case hexadecimal (64 characters)."""
    return hashlib.sha256(data).hexdigest()


def or_null(value: Any) -> Any:
    """A value as JSON can hold it: None for a number that is not finite."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def header(name: str, version: int) -> dict[str, object]:
    """The first two fields of a file: `format` and `version`."""
    return {"format": name, "version": version}


def check_header(found: Mapping[str, Any], *, name: str, version: int, where: str) -> None:
    """Refuse a file of another kind or from a newer release.

    Raises:
        StorageError: The format name differs, or the version is newer than this release reads.
    """
    if found.get("format") != name:
        raise StorageError(f"expected a {name} file in {where}, found format {found.get('format')!r}")
    file_version = found.get("version")
    if not isinstance(file_version, int) or isinstance(file_version, bool) or file_version < 1:
        raise StorageError(f"expected a whole version number >= 1 in {where}, found {file_version!r}")
    if file_version > version:
        raise StorageError(
            f"{where} is {name} version {file_version}; this release reads up to version {version}",
            advice="install a newer wardround; nothing was changed",
        )
