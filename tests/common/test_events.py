"""What was released, as data: its ledger form never changes, and what cannot be read is refused."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround.common.errors import TrustError, UsageError
from wardround.common.privacy.events import DpEvent, GaussianSteps, NonPrivate, decode, encode

EXAMPLE = GaussianSteps(noise_multiplier=7.617, sample_rate=0.1, steps=30)
LEDGER_FORM: dict[str, object] = {
    "kind": "gaussian-steps",
    "noise_multiplier": "7.617",
    "sample_rate": "0.1",
    "steps": 30,
}


def test_the_ledger_form_of_version_one_is_written_and_read_for_ever() -> None:
    assert encode(EXAMPLE) == LEDGER_FORM
    assert decode(LEDGER_FORM) == EXAMPLE
    assert encode(NonPrivate()) == {"kind": "non-private"}
    assert decode({"kind": "non-private"}) == NonPrivate()


@given(
    z=st.floats(1e-3, 1e6),
    q=st.floats(0, 1, exclude_min=True),
    steps=st.integers(1, 10**9),
)
def test_every_event_survives_the_ledger_to_the_last_bit(z: float, q: float, steps: int) -> None:
    event: DpEvent = GaussianSteps(noise_multiplier=z, sample_rate=q, steps=steps)
    assert decode(json.loads(json.dumps(encode(event)))) == event


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "laplace"},
        {"kind": None},
        {"noise_multiplier": 7.617},
        {"sample_rate": 1},
        {"steps": "30"},
        {"steps": 30.0},
        {"steps": True},
        {"discount": "0.5"},
    ],
)
def test_an_entry_of_another_form_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(TrustError, match="DpEvent"):
        decode({**LEDGER_FORM, **change})


@pytest.mark.parametrize("missing", ["kind", "noise_multiplier", "sample_rate", "steps"])
def test_an_entry_without_a_field_is_refused(missing: str) -> None:
    with pytest.raises(TrustError, match="DpEvent"):
        decode({name: value for name, value in LEDGER_FORM.items() if name != missing})


def test_an_entry_without_privacy_carries_nothing_else() -> None:
    with pytest.raises(TrustError, match="DpEvent"):
        decode({"kind": "non-private", "epsilon": "1"})


@pytest.mark.parametrize(
    "terms",
    [
        {"noise_multiplier": 0.0},
        {"noise_multiplier": -1.0},
        {"noise_multiplier": float("nan")},
        {"noise_multiplier": float("inf")},
        {"sample_rate": 0.0},
        {"sample_rate": 1.0000001},
        {"sample_rate": float("nan")},
        {"steps": 0},
        {"steps": -3},
    ],
)
def test_numbers_without_a_mechanism_are_refused(terms: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(terms))):
        GaussianSteps(**{"noise_multiplier": 1.0, "sample_rate": 1.0, "steps": 1, **terms})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("field", "text"), [("noise_multiplier", "nan"), ("sample_rate", "2"), ("steps", -1)]
)
def test_an_entry_whose_numbers_mean_nothing_is_refused(field: str, text: object) -> None:
    with pytest.raises(UsageError):
        decode({**LEDGER_FORM, field: text})


def test_an_event_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        EXAMPLE.steps = 1  # type: ignore[misc]
