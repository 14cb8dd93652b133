"""Which bundles people at this site have read: what is approved is byte for byte what was reviewed.

Between a review and its approval the coordinator's file may be replaced, by a newer bundle or by somebody else. One
who reviews on another computer names the digest that stands in the review.
"""

import json
from pathlib import Path
from typing import Final

from wardround.common.durable import write_atomic
from wardround.common.errors import UsageError
from wardround.common.formats import canonical, check_header, digest, header

REVIEWED: Final = "reviewed.json"
_FORMAT, _VERSION = "wardround-reviewed", 1
_KEPT: Final = 100  # digests; the oldest are forgotten


def note_reviewed(site: Path, data: bytes) -> None:
    """Remember that a bundle was shown here.

    Raises:
        StorageError: It cannot be written.
    """
    others = [one for one in _reviewed(site) if one != digest(data)]
    kept = [*others, digest(data)][-_KEPT:]
    write_atomic(site / REVIEWED, canonical({**header(_FORMAT, _VERSION), "bundles": kept}), mode=0o600)


def check_reviewed(site: Path, data: bytes, *, named: str = "") -> None:
    """Refuse a bundle that nobody reviewed.

    Args:
        site: The site's folder.
        data: The bundle.
        named: The whole digest of a bundle that was reviewed elsewhere; empty for none. Of half of it the coordinator
            could make two bundles that agree.

    Raises:
        UsageError: It is not the bundle that was named; or none was named, and it was not reviewed here.
    """
    found = digest(data)
    if named:
        if found != named:
            raise UsageError(
                f"expected the bundle {named}, found {found}",
                advice="review this one, or get the one that was reviewed; a digest has 64 digits, 0-9 a-f",
            )
    elif found not in _reviewed(site):
        raise UsageError(
            f"bundle {found} was never reviewed here",
            advice="read it with `wardround site review DIR BUNDLE`; if that was done on another computer, name the "
            "digest that stands there with --digest",
        )


def _reviewed(site: Path) -> list[str]:
    """The digests; none where the file is missing or damaged, which costs one more review."""
    try:
        found = json.loads((site / REVIEWED).read_bytes())
        bundles = found["bundles"]
    except (OSError, ValueError, LookupError, TypeError):
        return []
    check_header(found, name=_FORMAT, version=_VERSION, where=str(site / REVIEWED))
    return [one for one in bundles if isinstance(one, str)]
