"""Our bytes are those of the document: a program written from it alone made the known answers."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.vectors import make_secsum_vectors

from wardround.common.trust.identity import Roster, SigningKey
from wardround.common.trust.securesum import SumSession
from wardround.common.trust.sumroster import SumContext
from wardround.common.trust.sumround import SumRound, recompute_sum
from wardround.common.trust.sumwire import unpack_messages

TEXT = (Path(__file__).resolve().parent.parent / "golden/secsum-v1.json").read_text(encoding="utf-8")
CASES = json.loads(TEXT)["cases"]


def raw(text: str) -> bytes:
    return base64.b64decode(text)


class Attempt:
    """One case, played with our sessions: all that is drawn comes from the vectors."""

    def __init__(self, case: dict[str, Any]) -> None:
        self.sites: dict[str, Any] = case["sites"]
        self.context = SumContext(**case["context"])
        self.keys = {
            name: SigningKey(Ed25519PrivateKey.from_private_bytes(bytes.fromhex(site["identity"])))
            for name, site in self.sites.items()
        }
        public = {name: key.public for name, key in self.keys.items()}
        self.roster = Roster(
            coordinator=self.context.coordinator, coordinator_key=SigningKey.generate().public, sites=public
        )
        self.sessions = {
            name: SumSession.open(
                self.keys[name],
                name,
                self.context,
                approved=public,
                least=3,
                suites=site["suites"],
                random=self._drawn(name),
            )
            for name, site in self.sites.items()
        }

    def _drawn(self, name: str) -> Any:
        pool: Iterator[bytes] = iter(bytes.fromhex(self.sites[name][part]) for part in ("x25519", "mlkem"))
        return lambda size: next(pool)[:size]

    def agree(self, name: str, readies: list[bytes]) -> bytes:
        made = self.sites[name]["encapsulations"]
        return self.sessions[name].agree(
            readies,
            encapsulate=lambda peer, _: (
                bytes.fromhex(made[peer]["secret"]),
                raw(made[peer]["ciphertext"]),
            ),
        )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["suite"])
def test_every_message_of_an_attempt_is_the_documents(case: dict[str, Any]) -> None:
    attempt = Attempt(case)
    coordinator = SumRound(attempt.context, keys=attempt.roster, length=len(case["sum"]))
    for name, site in case["sites"].items():
        assert attempt.sessions[name].ready == raw(site["ready"])
        coordinator.ready(name, attempt.sessions[name].ready)
    assert coordinator.roster_body() == raw(case["roster_body"])
    assert (coordinator.roster.digest, coordinator.roster.suite) == (case["roster_digest"], case["suite"])
    readies, _ = unpack_messages(coordinator.roster_body())
    for name, site in case["sites"].items():
        agreed = attempt.agree(name, readies)
        assert agreed == raw(site["agreed"])
        coordinator.agreed(name, agreed)
    assert coordinator.agreements_body() == raw(case["agreements_body"])
    assert coordinator.transcript.digest == case["transcript_digest"]
    agreements, _ = unpack_messages(coordinator.agreements_body())
    for name, site in case["sites"].items():
        session = attempt.sessions[name]
        session.confirm(agreements)
        upload = session.upload(np.array(site["values"], np.uint32), receipt=site["receipt"].encode())
        assert upload == raw(site["upload"])
        assert coordinator.masked(name, upload) == site["receipt"].encode()
    assert coordinator.total().tolist() == case["sum"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["suite"])
def test_the_masked_numbers_are_the_documents(case: dict[str, Any]) -> None:
    attempt = Attempt(case)
    readies, _ = unpack_messages(raw(case["roster_body"]))
    agreements, _ = unpack_messages(raw(case["agreements_body"]))
    for name, site in case["sites"].items():
        attempt.agree(name, readies)
        attempt.sessions[name].confirm(agreements)
        assert attempt.sessions[name].mask(np.array(site["values"], np.uint32)).tolist() == site["masked"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["suite"])
def test_an_auditor_finds_the_documents_sum(case: dict[str, Any]) -> None:
    attempt = Attempt(case)
    total = recompute_sum(
        attempt.context,
        keys=attempt.roster,
        length=len(case["sum"]),
        readies=unpack_messages(raw(case["roster_body"]))[0],
        agreements=unpack_messages(raw(case["agreements_body"]))[0],
        uploads=((name, raw(site["upload"])) for name, site in case["sites"].items()),
    )
    assert total.tolist() == case["sum"]


def test_the_vectors_are_what_their_program_makes_without_our_package() -> None:
    assert make_secsum_vectors.vectors() == TEXT
    program = Path(make_secsum_vectors.__file__).read_text(encoding="utf-8")
    assert "wardround." not in program.replace("vnd.wardround.envelope", "")


def test_both_suites_are_covered() -> None:
    assert [case["suite"] for case in CASES] == ["x25519+ml-kem-768", "x25519"]
