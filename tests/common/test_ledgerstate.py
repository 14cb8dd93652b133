"""The rules of the account: every step that is refused changes nothing."""

from collections.abc import Callable
from pathlib import Path

import pytest

from wardround.common.errors import PrivacyError, TrustError, UsageError, WardroundError
from wardround.common.formats import digest
from wardround.common.privacy.events import GaussianSteps, NonPrivate
from wardround.common.trust.identity import SigningKey
from wardround.common.trust.ledger import Ledger

EVENT = GaussianSteps(noise_multiplier=2.5, sample_rate=0.25, steps=4)
P, Q, MODEL, UPDATE = (digest(text) for text in (b"p", b"q", b"model", b"update"))


Step = Callable[[Ledger], object]
GIVEN_BACK: list[Step] = [
    lambda x: x.reserve("s", P, EVENT, 9),
    lambda x: x.spend("s", P, 1, 1, MODEL),
    lambda x: x.give_back("s", P, 1, 1),
]
REFUSED: list[tuple[str, list[Step], type[WardroundError], str]] = [
    ("spend without reservation", [lambda x: x.spend("s", P, 1, 1, MODEL)], PrivacyError, "no reservation"),
    (
        "spend under another protocol",
        [lambda x: x.reserve("s", P, EVENT, 2), lambda x: x.spend("s", Q, 1, 1, MODEL)],
        PrivacyError,
        "no reservation",
    ),
    (
        "more releases than reserved",
        [
            lambda x: x.reserve("s", P, EVENT, 1),
            lambda x: x.spend("s", P, 1, 1, MODEL),
            lambda x: x.spend("s", P, 2, 1, MODEL),
        ],
        PrivacyError,
        "all 1 reserved releases",
    ),
    (
        "an older round",
        [
            lambda x: x.reserve("s", P, EVENT, 9),
            lambda x: x.spend("s", P, 2, 1, MODEL),
            lambda x: x.spend("s", P, 1, 5, MODEL),
        ],
        TrustError,
        "newer than round 2 attempt 1",
    ),
    (
        "a settled attempt again",
        [
            lambda x: x.reserve("s", P, EVENT, 9),
            lambda x: x.spend("s", P, 1, 1, MODEL),
            lambda x: x.settle("s", P, 1, 1, UPDATE),
            lambda x: x.spend("s", P, 1, 1, MODEL),
        ],
        TrustError,
        "newer than round 1 attempt 1",
    ),
    (
        "one attempt for two base models",
        [
            lambda x: x.reserve("s", P, EVENT, 9),
            lambda x: x.spend("s", P, 1, 1, MODEL),
            lambda x: x.spend("s", P, 1, 1, UPDATE),
        ],
        TrustError,
        "two tasks share one attempt",
    ),
    (
        "settle what was not spent",
        [
            lambda x: x.reserve("s", P, EVENT, 9),
            lambda x: x.spend("s", P, 1, 1, MODEL),
            lambda x: x.settle("s", P, 1, 2, UPDATE),
        ],
        TrustError,
        "unsettled last attempt",
    ),
    (
        "settle an overtaken attempt",
        [
            lambda x: x.reserve("s", P, EVENT, 9),
            lambda x: x.spend("s", P, 1, 1, MODEL),
            lambda x: x.spend("s", P, 1, 2, MODEL),
            lambda x: x.settle("s", P, 1, 1, UPDATE),
        ],
        TrustError,
        "unsettled last attempt",
    ),
    (
        "settle with other bytes",
        [
            lambda x: x.reserve("s", P, EVENT, 9),
            lambda x: x.spend("s", P, 1, 1, MODEL),
            lambda x: x.settle("s", P, 1, 1, UPDATE),
            lambda x: x.settle("s", P, 1, 1, MODEL),
        ],
        TrustError,
        "unsettled last attempt",
    ),
    (
        "reserve more of the same",
        [lambda x: x.reserve("s", P, EVENT, 1), lambda x: x.reserve("s", P, EVENT, 2)],
        PrivacyError,
        "reserved already",
    ),
    *(
        (
            f"{name} after the end",
            [lambda x: x.reserve("s", P, EVENT, 3), lambda x: x.close_study("s", P), step],
            PrivacyError,
            "is finished",
        )
        for name, step in (
            ("reserve", lambda x: x.reserve("s", P, EVENT, 3)),
            ("spend", lambda x: x.spend("s", P, 1, 1, MODEL)),
            ("settle", lambda x: x.settle("s", P, 1, 1, UPDATE)),
        )
    ),
    *(
        (
            f"give back {name}",
            [lambda x: x.reserve("s", P, EVENT, 9), *steps, lambda x: x.give_back("s", P, 1, 1)],
            TrustError,
            "unsettled last attempt",
        )
        for name, steps in (
            ("what was not spent", ()),
            (
                "what was settled",
                (lambda x: x.spend("s", P, 1, 1, MODEL), lambda x: x.settle("s", P, 1, 1, UPDATE)),
            ),
            (
                "an overtaken attempt",
                (lambda x: x.spend("s", P, 1, 1, MODEL), lambda x: x.spend("s", P, 1, 2, MODEL)),
            ),
        )
    ),
    (
        "settle what was given back",
        [*GIVEN_BACK, lambda x: x.settle("s", P, 1, 1, UPDATE)],
        TrustError,
        "unsettled last attempt",
    ),
    (
        "spend what was given back",
        [*GIVEN_BACK, lambda x: x.spend("s", P, 1, 1, MODEL)],
        TrustError,
        "newer than round 1 attempt 1",
    ),
    (
        "give back after the end",
        [
            lambda x: x.reserve("s", P, EVENT, 3),
            lambda x: x.spend("s", P, 1, 1, MODEL),
            lambda x: x.close_study("s", P),
            lambda x: x.give_back("s", P, 1, 1),
        ],
        PrivacyError,
        "is finished",
    ),
    (
        "give back without privacy",
        [
            lambda x: x.reserve("s", P, NonPrivate(), 3),
            lambda x: x.spend("s", P, 1, 1, MODEL),
            lambda x: x.give_back("s", P, 1, 1),
        ],
        PrivacyError,
        "nothing shows",
    ),
    ("close what was never open", [lambda x: x.close_study("s", P)], PrivacyError, "no reservation"),
    (
        "again before the end",
        [lambda x: x.reserve("s", P, EVENT, 3), lambda x: x.allow_again("s", P)],
        PrivacyError,
        "not finished",
    ),
    ("no name", [lambda x: x.reserve("", P, EVENT, 1)], UsageError, "field study"),
    ("no digest", [lambda x: x.reserve("s", "P", EVENT, 1)], UsageError, "field protocol"),
    ("nothing reserved", [lambda x: x.reserve("s", P, EVENT, 0)], UsageError, "field releases"),
    (
        "a round below zero",
        [lambda x: x.reserve("s", P, EVENT, 1), lambda x: x.spend("s", P, -1, 1, MODEL)],
        UsageError,
        "field round",
    ),
]


@pytest.mark.parametrize(("name", "script", "error", "why"), REFUSED, ids=[case[0] for case in REFUSED])
def test_the_ledger_refuses(
    name: str, script: list[Step], error: type[WardroundError], why: str, tmp_path: Path
) -> None:
    with Ledger.open(tmp_path / "ledger", SigningKey.generate(), tmp_path / "head.json") as ledger:
        for step in script[:-1]:
            step(ledger)
        before = ledger.head, ledger.exposure(), ledger.spent()
        with pytest.raises(error) as caught:
            script[-1](ledger)
        assert why in f"{caught.value} {caught.value.advice}"
        assert (ledger.head, ledger.exposure(), ledger.spent()) == before
