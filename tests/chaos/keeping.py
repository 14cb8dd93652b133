"""What a long test of failures found is kept line by line, so that it can be stopped and gone on with.

Also a plugin of pytest, `-p tests.chaos.keeping`: the result of every test marked `failure` goes into the file that
`KEEP` names. Lines of other code than today's are not read: a result says nothing about code that it was not made with.
"""

import json
import os
from collections.abc import Generator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

from wardround.common.code import package_digest

KEEP: Final = "WARDROUND_CHAOS_KEEP"


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """What became of one named failure.

    Attributes:
        name: Of the failure.
        result: What happened, in words.
        seconds: Of the test.
        test: Its node id.
        good: Whether it passed.
    """

    name: str
    result: str
    seconds: float
    test: str
    good: bool


code = cache(package_digest)


def keep(path: Path, kind: str, row: Any) -> None:
    """Add one finding; `row` is a dataclass."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"kind": kind, "code": code(), **asdict(row)}) + "\n")


def kept(path: Path, kind: str) -> list[dict[str, Any]]:
    """All findings of a kind that were made with today's code."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    found = [json.loads(line) for line in lines]
    return [one for one in found if (one.pop("kind"), one.pop("code")) == (kind, code())]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, None]:
    """Keep what a test says of itself if it passed, and what went wrong if it did not."""
    outcome = yield
    report = outcome.get_result()
    marker = item.get_closest_marker("failure")
    if marker is None or (report.when != "call" and report.passed):
        return
    name, result = marker.args
    if report.skipped:
        result = f"not done here: {report.longrepr[2] if isinstance(report.longrepr, tuple) else ''}"
    elif report.failed:
        result = f"**failed**: {str(report.longrepr).strip().splitlines()[-1][:160]}"
    good = not report.failed
    row = Named(name=name, result=result, seconds=report.duration, test=item.nodeid, good=good)
    keep(Path(os.environ[KEEP]), "named", row)
