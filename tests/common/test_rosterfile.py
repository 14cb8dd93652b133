"""Signed rosters: who signed, which version follows which, and files of version 1 for ever."""

import json
from dataclasses import replace

import pytest
from tests.enrolling import GOLDEN, key

from wardround.common.errors import StorageError, TrustError, UsageError
from wardround.common.trust.identity import Roster
from wardround.common.trust.rosterfile import KIND, SignedRoster, newest, open_roster, seal_roster
from wardround.common.trust.sealed import seal_file

ROSTER = Roster(
    coordinator="hub",
    coordinator_key=key(9).public,
    sites={"north": key(1).public, "south": key(2).public},
)
OTHER = replace(ROSTER, sites={"north": key(1).public, "south": key(3).public})


def test_what_was_sealed_is_read_back() -> None:
    data = seal_roster(key(9), ROSTER, 3)
    found = open_roster(data, key(9).public)
    assert (found.roster, found.version, found.digest) == (ROSTER, 3, ROSTER.digest)
    assert data == seal_roster(key(9), ROSTER, 3)


def test_a_mail_program_that_changes_line_ends_does_no_harm() -> None:
    data = seal_roster(key(9), ROSTER, 3).replace(b"\n", b"\r\n")
    assert open_roster(b"\xef\xbb\xbf" + data, key(9).public).version == 3


def test_only_the_pinned_coordinator_counts() -> None:
    data = seal_roster(key(9), ROSTER, 3)
    with pytest.raises(TrustError, match="the signature does not belong"):
        open_roster(data, key(8).public)
    with pytest.raises(UsageError, match="the roster's own coordinator"):
        seal_roster(key(8), ROSTER, 3)
    forged = seal_file(key(8), KIND, {"number": 3, "roster": ROSTER.to_dict()})
    with pytest.raises(TrustError, match="names another coordinator"):
        open_roster(forged, key(8).public)


@pytest.mark.parametrize("field", ["number", "roster", "version", "format", "signature"])
def test_every_field_is_signed(field: str) -> None:
    found = json.loads(seal_roster(key(9), ROSTER, 3))
    changed = {"number": 4, "roster": OTHER.to_dict(), "version": 2, "format": "x", "signature": "AAAA"}
    with pytest.raises((TrustError, StorageError)):
        open_roster(json.dumps({**found, field: changed[field]}).encode(), key(9).public)


@pytest.mark.parametrize("size", [0, 1, 100, 300, -3])
def test_a_file_that_was_cut_short_is_refused_with_what_to_do(size: int) -> None:
    with pytest.raises(TrustError, match="one whole JSON object") as caught:
        open_roster(seal_roster(key(9), ROSTER, 3)[:size], key(9).public)
    assert "sent again" in caught.value.advice


def test_a_newer_layout_is_refused_with_advice() -> None:
    found = json.loads(seal_roster(key(9), ROSTER, 3))
    with pytest.raises(StorageError, match="version 2; this release reads up to version 1") as caught:
        open_roster(json.dumps({**found, "version": 2, "more": 1}).encode(), key(9).public)
    assert "install a newer wardround" in caught.value.advice


@pytest.mark.parametrize("number", [0, -1, True, "3", 1.0, None])
def test_a_version_counts(number: object) -> None:
    data = seal_file(key(9), KIND, {"number": number, "roster": ROSTER.to_dict()})
    with pytest.raises(TrustError, match="expected a version number"):
        open_roster(data, key(9).public)
    with pytest.raises(UsageError, match="expected a roster version"):
        SignedRoster(roster=ROSTER, version=number)  # type: ignore[arg-type]


def test_an_older_version_is_refused_and_a_newer_one_taken() -> None:
    second, third = (SignedRoster(roster=ROSTER, version=n) for n in (2, 3))
    assert newest(None, second) is second
    assert newest(second, third) is third
    assert newest(second, replace(second)) is second
    with pytest.raises(TrustError, match="expected roster version 3 or newer, found 2"):
        newest(third, second)


def test_two_rosters_of_one_version_are_refused() -> None:
    with pytest.raises(TrustError, match="two different rosters have version 3") as caught:
        newest(SignedRoster(roster=ROSTER, version=3), SignedRoster(roster=OTHER, version=3))
    assert "different members to different hospitals" in caught.value.advice


def test_a_roster_of_version_1_stays_readable() -> None:
    found = open_roster((GOLDEN / "signed-roster-v1.json").read_bytes(), key(9).public)
    assert (found.roster, found.version) == (ROSTER, 3)
    assert seal_roster(key(9), ROSTER, 3) == (GOLDEN / "signed-roster-v1.json").read_bytes()
