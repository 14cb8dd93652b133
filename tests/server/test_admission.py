"""Nothing that a site sends can crash or steer a round beyond its own update."""

import json
from dataclasses import replace

import numpy as np
import pytest
from tests.studies import RUN, WIDTH, keys_and_roster, private_protocol, small_protocol

from wardround.common.formats import canonical, digest
from wardround.common.learning.exchange import DECLINED, UPDATE, Receipt, pack_update, refusal
from wardround.common.learning.models import initial
from wardround.common.learning.parameters import LARGEST, Parameters, parameters_digest, to_bytes
from wardround.common.learning.study import RoundTask
from wardround.common.privacy.events import DpEvent, GaussianSteps, encode
from wardround.common.study.protocol import StudyProtocol
from wardround.common.trust.envelope import Header, open_head, seal
from wardround.server.admission import Admitted, Refused, admit

KEYS, ROSTER = keys_and_roster("north", "south")
PROTOCOL = private_protocol()
BASE = initial(PROTOCOL, WIDTH)
TASK = RoundTask(round=3, attempt=1, base=BASE, base_model=parameters_digest(BASE))
HEADER = Header(
    kind=UPDATE,
    study=PROTOCOL.study.name,
    protocol_digest=PROTOCOL.digest,
    run=RUN,
    round=3,
    attempt=1,
    sender="north",
    receiver="coordinator",
    base_model=TASK.base_model,
    receipt=Receipt(event=PROTOCOL.event(), ledger_seq=4, ledger_head="0" * 64).digest,
)


def body(update: Parameters | None = None, event: DpEvent | None = None) -> bytes:
    receipt = Receipt(event=event or PROTOCOL.event(), ledger_seq=4, ledger_head="0" * 64)
    return pack_update(receipt, BASE if update is None else update)


def judged(
    header: Header = HEADER,
    content: bytes | None = None,
    signer: str = "north",
    protocol: StudyProtocol = PROTOCOL,
) -> Admitted | Refused:
    data = seal(KEYS[signer], header, body() if content is None else content)
    return admit(data, sender="north", task=TASK, run=RUN, protocol=protocol, roster=ROSTER)


def reason(verdict: Admitted | Refused) -> str:
    assert isinstance(verdict, Refused)
    return verdict.reason


def test_an_honest_update_is_admitted() -> None:
    verdict = judged()
    assert isinstance(verdict, Admitted)
    assert set(verdict.update) == set(BASE)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30])
def test_numbers_that_are_not_finite_or_absurd_are_refused(bad: float) -> None:
    update = {name: array.copy() for name, array in BASE.items()}
    update["output.weight"][0, 1] = bad
    assert "not finite or exceeds" in reason(judged(content=body(update)))


def test_an_update_after_which_every_site_would_decline_is_refused_by_name() -> None:
    far = {name: np.full_like(array, LARGEST) for name, array in BASE.items()}
    task = replace(TASK, base=far)
    update = {name: np.full_like(array, 10.0) for name, array in BASE.items()}
    data = seal(KEYS["north"], HEADER, body(update))
    verdict = admit(data, sender="north", task=task, run=RUN, protocol=PROTOCOL, roster=ROSTER)
    assert "exceeds 10000" in reason(verdict)
    back = {name: -array for name, array in update.items()}
    data = seal(KEYS["north"], HEADER, body(back))
    assert isinstance(
        admit(data, sender="north", task=task, run=RUN, protocol=PROTOCOL, roster=ROSTER), Admitted
    )


def test_a_wrong_shape_is_refused() -> None:
    update = {**BASE, "output.weight": np.zeros((1, WIDTH + 1), np.float32)}
    assert "expected shape" in reason(judged(content=body(update)))


def test_a_missing_and_an_extra_layer_are_refused() -> None:
    assert "expected layers" in reason(judged(content=body({"output.bias": BASE["output.bias"]})))
    assert "expected layers" in reason(judged(content=body({**BASE, "more": BASE["output.bias"]})))


def test_an_update_brings_the_sites_own_word_for_it_without_its_body() -> None:
    verdict = judged()
    assert isinstance(verdict, Admitted)
    head = open_head(verdict.head, ROSTER, sender="north", round=3, attempt=1)
    assert head.body_digest == verdict.sha256 == digest(body())
    assert head.header.receipt == digest(canonical(verdict.receipt.to_dict()))


def test_a_reply_of_another_run_is_refused() -> None:
    # Signed by the site for this very round, attempt and model, when the same study was run before.
    assert "expected run" in reason(judged(header=replace(HEADER, run=RUN[::-1])))


@pytest.mark.parametrize("receipt", ["", "1" * 64])
def test_a_receipt_that_the_head_does_not_name_is_refused(receipt: str) -> None:
    assert "head of the reply to name its receipt" in reason(judged(header=replace(HEADER, receipt=receipt)))


def test_a_charge_of_more_steps_than_any_number_holds_is_refused_and_crashes_nothing() -> None:
    event = {"kind": "gaussian-steps", "noise_multiplier": "1.0", "sample_rate": "1.0", "steps": 10**400}
    assert "a charge that cannot be" in reason(judged(content=forged(event=event)))


def test_a_claimed_number_of_examples_in_the_receipt_is_refused() -> None:
    assert "unknown key 'num-examples'" in reason(judged(content=forged(**{"num-examples": 1_000_000})))


def forged(**fields: object) -> bytes:
    """An update whose receipt has other fields."""
    honest = body()
    size = int.from_bytes(honest[:4], "big")
    return framed(canonical({**json.loads(honest[4 : 4 + size]), **fields}))


def framed(head: bytes) -> bytes:
    return len(head).to_bytes(4, "big") + head + to_bytes(BASE)


@pytest.mark.parametrize(
    "fields",
    [
        {"event": {**encode(PROTOCOL.event()), "noise_multiplier": "-1.0"}},
        {"event": {**encode(PROTOCOL.event()), "noise_multiplier": "nan"}},
        {"event": {**encode(PROTOCOL.event()), "noise_multiplier": "much"}},
        {"event": {**encode(PROTOCOL.event()), "steps": 0}},
        {"event": []},
        {"ledger_seq": -1},
        {"ledger_seq": 4.5},
        {"ledger_seq": True},
        {"ledger_head": "x" * 10_000},
    ],
)
def test_a_receipt_that_states_what_cannot_be_is_refused(fields: dict[str, object]) -> None:
    assert len(reason(judged(content=forged(**fields)))) < 200


@pytest.mark.parametrize(
    "head",
    [
        b"[" * 200_000,
        b'{"event":{},"ledger_head":"","ledger_seq":Infinity}',
        b'{"event":{},"ledger_head":"\\ud800","ledger_seq":1}',
    ],
    ids=["nested", "infinity", "surrogate"],
)
def test_json_that_breaks_a_reader_or_the_log_is_refused_in_both_bodies(head: bytes) -> None:
    canonical(reason(judged(content=framed(head))))
    canonical(reason(judged(header=replace(HEADER, kind=DECLINED), content=head)))


@pytest.mark.parametrize("reference", ["\ud800", "x" * 1_000_000, "AB12CD34", "patient7", ""])
def test_a_reference_says_eight_digits_and_nothing_else(reference: str) -> None:
    content = json.dumps({"code": "declined", "reference": reference}, separators=(",", ":")).encode()
    said = reason(judged(header=replace(HEADER, kind=DECLINED), content=content))
    assert said == "a refusal carries one code and one reference, nothing else" or "canonical JSON" in said


def test_a_number_type_that_numpy_has_not_is_refused() -> None:
    head = json.dumps({"output.weight": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}}).encode()
    head += b" " * (-len(head) % 8)
    honest = body()
    size = 4 + int.from_bytes(honest[:4], "big")
    tensors = len(head).to_bytes(8, "little") + head + b"\0\0"
    assert "float32" in reason(judged(content=honest[:size] + tensors))


def test_names_of_many_layers_do_not_fill_the_log() -> None:
    update = {f"{'n' * 100}{i}": np.zeros(1, np.float32) for i in range(200)}
    assert len(reason(judged(content=body(update)))) < 1000


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("round", 2),
        ("attempt", 2),
        ("receiver", "south"),
        ("study", "another"),
        ("protocol_digest", "1" * 64),
        ("base_model", "2" * 64),
    ],
)
def test_a_reply_to_something_else_is_refused(field: str, value: object) -> None:
    assert field in reason(judged(header=replace(HEADER, **{field: value})))  # type: ignore[arg-type]


def test_a_reply_signed_by_another_site_is_refused() -> None:
    assert isinstance(judged(signer="south"), Refused)
    assert "sender" in reason(judged(header=replace(HEADER, sender="south"), signer="south"))


def test_a_charge_other_than_the_protocols_is_refused() -> None:
    cheap = GaussianSteps(noise_multiplier=99.0, sample_rate=1.0, steps=1)
    assert "charges another event" in reason(judged(content=body(event=cheap)))


def test_an_update_without_privacy_is_refused_in_a_private_study() -> None:
    assert "charges another event" in reason(judged(content=body(event=small_protocol().event())))


def test_a_refusal_is_recorded_with_its_reference_only() -> None:
    header = replace(HEADER, kind=DECLINED)
    assert reason(judged(header=header, content=refusal("ab12cd34"))) == "declined, reference ab12cd34"
    assert "one code and one reference" in reason(
        judged(header=header, content=b'{"code":"declined","reference":"x","why":"patient 7"}')
    )


@pytest.mark.parametrize("cut", [0, 1, 40, 200, 400])
def test_bytes_that_are_no_envelope_are_refused(cut: int) -> None:
    data = seal(KEYS["north"], HEADER, body())[:cut]
    assert isinstance(
        admit(data, sender="north", task=TASK, run=RUN, protocol=PROTOCOL, roster=ROSTER), Refused
    )
