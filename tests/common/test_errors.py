"""Errors: exit codes, advice, and what they print."""

import pytest

from wardround.common import errors
from wardround.common.errors import WardroundError

OWN = [
    each
    for each in vars(errors).values()
    if isinstance(each, type) and issubclass(each, WardroundError) and each is not WardroundError
]
CODES = {
    "UsageError": 2,
    "ProtocolError": 3,
    "CohortError": 4,
    "PolicyRefusal": 5,
    "TrustError": 6,
    "PrivacyError": 7,
    "StudyError": 8,
    "StorageError": 9,
}


def test_exit_codes_never_change() -> None:
    assert {each.__name__: each.exit_code for each in OWN} == CODES


def test_the_root_has_an_exit_code_of_its_own() -> None:
    assert WardroundError.exit_code == 1


def test_there_is_one_root_and_no_deeper_tree() -> None:
    assert all(each.__bases__ == (WardroundError,) for each in OWN)


@pytest.mark.parametrize("kind", OWN)
def test_diagnostics_name_the_kind_the_message_and_the_advice(kind: type[WardroundError]) -> None:
    error = kind("expected 1, found 2", advice="count again")
    assert error.diagnostics() == f"{kind.__name__}: expected 1, found 2\nWhat to do: count again"


def test_diagnostics_without_advice_are_one_line() -> None:
    assert errors.TrustError("no").diagnostics() == "TrustError: no"
