"""The file in which a site keeps why it refused, for its own staff: bounded, whoever asks how often.

Each line is one JSON object. A refusal that left as a signed `declined` carries the reference that the coordinator
was given. The file never leaves the site.

Guarantees:
    - At most two files of about `LARGEST` bytes: `refusals.jsonl` and, once it is full, the one before it.
    - Within an hour no source adds more than its share of lines, so that strangers who send rubbish do not push out
      what the coordinator's own tasks left behind. The last line of a share says that more are not written.
"""

import json
import os
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Literal

from wardround.common.durable import append_line
from wardround.common.trust.signed import utc_now

REFUSALS: Final = "refusals.jsonl"
BEFORE: Final = "refusals.1.jsonl"
LARGEST: Final = 4 * 2**20
"""Bytes after which a new file is begun."""

Source = Literal["task", "reception"]
"""Who was refused: the coordinator, in a task that it signed; or whoever sent what could not even be opened."""

SHARE: Final[Mapping[Source, int]] = {"task": 1000, "reception": 60}
"""Lines of each source within an hour."""

LONGEST: Final[Mapping[Source, int]] = {"task": 8000, "reception": 600}
"""Characters of a reason; what strangers send may stand in it."""

_LAST: Final = "more refusals of this kind are not written within the hour"


class RefusalFile:
    """The refusals of one site.

    Args:
        folder: The site's folder; must exist.
        clock: The site's clock.
    """

    def __init__(self, folder: Path, *, clock: Callable[[], datetime] = utc_now) -> None:
        self._path = folder / REFUSALS
        self._clock = clock

    def note(self, source: Source, reason: str | list[str], **fields: str | int) -> None:
        """Write one refusal down, durably, unless the source used up its share.

        Args:
            source: Who was refused.
            reason: In words, or a traceback; cut where it is too long.
            **fields: What else is known, e.g. the reference that was given out.

        Raises:
            StorageError: The file cannot be written.
        """
        now = self._clock()
        room = SHARE[source] - self._recent(source, now - timedelta(hours=1))
        if room <= 0:
            return
        line: dict[str, object] = {
            **fields,
            "source": source,
            "time": now.isoformat(timespec="seconds"),
            "reason": _cut(reason, LONGEST[source]),
        }
        if room == 1:
            line["note"] = _LAST
        self._make_room()
        append_line(self._path, json.dumps(line).encode())

    def _recent(self, source: Source, since: datetime) -> int:
        """Lines of a source that are younger than `since`; a line that cannot be read counts as none."""
        if not self._path.exists():
            return 0
        count = 0
        for line in self._path.read_bytes().splitlines():
            count += _is_of(line, source, since)
        return count

    def _make_room(self) -> None:
        if self._path.exists() and self._path.stat().st_size >= LARGEST:
            os.replace(self._path, self._path.with_name(BEFORE))


def _is_of(line: bytes, source: Source, since: datetime) -> bool:
    try:
        match json.loads(line):
            case {"source": found, "time": str(time)}:
                return found == source and datetime.fromisoformat(time) >= since
    except (ValueError, TypeError):  # a torn line, or a time without a zone
        return False
    return False


def _cut(reason: str | list[str], longest: int) -> str | list[str]:
    if isinstance(reason, str):
        return reason[:longest]
    kept = "".join(reason)
    return reason if len(kept) <= longest else [kept[: longest // 2], kept[-longest // 2 :]]
