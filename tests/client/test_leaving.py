"""What leaves, as the review says it, is what leaves: sizes and shapes of real messages."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.consortia import JOINT, Consortium, asked
from tests.hospital import hospital, only
from tests.studies import RUN

from wardround.client.approving import feature_path
from wardround.client.leaving import Leaving, leaving
from wardround.client.peers import approve_peers
from wardround.client.reception import Reception
from wardround.common.formats import digest
from wardround.common.learning.exchange import unpack_update
from wardround.common.learning.models import initial
from wardround.common.learning.parameters import to_bytes
from wardround.common.privacy.terms import PrivacyTerms
from wardround.common.study.bundle import read_bundle
from wardround.common.study.protocol import StudyProtocol
from wardround.common.trust.checkpoint import Checkpoint, origin, sign
from wardround.common.trust.envelope import open_envelope
from wardround.common.trust.sumwire import Masked, pack_messages
from wardround.common.trust.witness import Seen, read_answer, show


def stated(made: Consortium, protocol: StudyProtocol, site: str) -> dict[str, Leaving]:
    bundle = read_bundle(made.bundle(protocol), made.key.public)
    found = leaving(protocol, width=feature_path(bundle).width, roster=bundle.roster.roster, site=site)
    return {each.kind: each for each in found}


def base(made: Consortium, protocol: StudyProtocol) -> bytes:
    bundle = read_bundle(made.bundle(protocol), made.key.public)
    return to_bytes(initial(protocol, feature_path(bundle).width))


def ask(
    made: Consortium, site: str, kind: str, protocol: StudyProtocol, body: bytes = b"", **fields: object
) -> bytes:
    return Reception(made.site(site)).answer(made.message(kind, protocol, site, body, **fields))


def shown(made: Consortium, protocol: StudyProtocol) -> str:
    """The study's log as a coordinator shows it to a site that has seen none of it."""
    log = Checkpoint(origin=origin(protocol.study.name, protocol.digest, RUN), size=7, root=bytes(32))
    return show(0, (), sign(made.key, log))


def test_an_update_has_the_stated_shapes_and_size(tmp_path: Path) -> None:
    made, protocol = Consortium(tmp_path), asked()
    expected = stated(made, protocol, "north")
    made.approve("north", protocol)
    model = base(made, protocol)
    log = shown(made, protocol)
    reply = ask(made, "north", "task", protocol, model, round=1, attempt=1, base_model=digest(model), log=log)
    roster = read_bundle(made.bundle(protocol), made.key.public).roster.roster
    _, update = unpack_update(open_envelope(reply, roster).body)
    assert {name: array.shape for name, array in update.items()} == {
        array.name: array.shape for array in expected["update"].arrays
    }
    assert (
        expected["update"].most - 16 <= len(reply) <= expected["update"].most
    )  # digits of the ledger's number
    present = len(ask(made, "north", "roll-call", protocol))
    assert expected["present"].most - 24 <= present <= expected["present"].most
    declined = ask(
        made, "north", "task", protocol, b"no model", round=1, attempt=2, base_model=digest(b"no model")
    )
    assert len(declined) <= expected["declined"].most
    finished = len(ask(made, "north", "finish", protocol, log=log))
    assert expected["finished"].most - 16 <= finished <= expected["finished"].most
    assert set(expected) == {"present", "update", "declined", "finished"}


def test_without_privacy_an_update_cosigns_nothing_and_the_end_does(tmp_path: Path) -> None:
    made = Consortium(tmp_path, names=("north",))
    made.edit("north", 'cohort = "private"', 'cohort = "public"')
    made.edit("north", '"joint-noise"]', '"joint-noise", "none"]')
    protocol = asked(privacy=PrivacyTerms(mechanism="none", source="a public reference"))
    made.approve("north", protocol)
    expected, model, log = stated(made, protocol, "north"), base(made, protocol), shown(made, protocol)
    reply = ask(made, "north", "task", protocol, model, round=1, attempt=1, base_model=digest(model), log=log)
    roster = read_bundle(made.bundle(protocol), made.key.public).roster.roster
    assert open_envelope(reply, roster).header.log == ""
    assert expected["update"].most - 16 <= len(reply) <= expected["update"].most
    assert "signature under the study's log" not in expected["update"].what
    finished = open_envelope(ask(made, "north", "finish", protocol, log=log), roster).header
    assert read_answer(finished.log)[0] == 7
    with made.ledger("north") as ledger:
        assert ledger.cosigned(protocol.study.name, protocol.digest) == {RUN: Seen(size=7, root=bytes(32))}


def test_each_message_of_a_secure_sum_has_the_stated_size(tmp_path: Path) -> None:
    made, protocol = Consortium(tmp_path), asked(privacy=JOINT)
    roster = read_bundle(made.bundle(protocol), made.key.public).roster.roster
    for name in made.names:
        approve_peers(made.site(name), roster.sites)
        made.approve(name, protocol)
    model = base(made, protocol)
    moment: dict[str, Any] = {"round": 1, "attempt": 1, "base_model": digest(model)}
    expected = {name: stated(made, protocol, name) for name in made.names}
    ready = [ask(made, name, "open", protocol, **moment) for name in made.names]
    agreed = [ask(made, name, "roster", protocol, pack_messages(ready), **moment) for name in made.names]
    masked = [
        ask(made, name, "task", protocol, pack_messages(agreed) + model, **moment, log=shown(made, protocol))
        for name in made.names
    ]
    for kind, replies in (("ready", ready), ("agreed", agreed), ("masked", masked)):
        for name, reply in zip(made.names, replies, strict=True):
            most = expected[name][kind].most
            assert open_envelope(reply, roster).header.kind == kind
            assert most - 24 <= len(reply) <= most
    (array,) = expected["north"]["masked"].arrays
    vector = Masked.unpack(open_envelope(masked[0], roster).body, array.shape[0]).values
    assert (vector.shape, str(vector.dtype)) == (array.shape, array.kind)


def test_sizes_do_not_depend_on_the_patients(tmp_path: Path) -> None:
    one = Consortium(tmp_path / "a", names=("north",))
    protocol = asked()
    more = Consortium(tmp_path / "b", names=("north",), tables={"north": only(hospital(240, seed=9))})  # type: ignore[arg-type]
    lengths = []
    for made in (one, more):
        made.approve("north", protocol)
        model = base(made, protocol)
        lengths.append(
            len(ask(made, "north", "task", protocol, model, round=1, attempt=1, base_model=digest(model)))
        )
    assert lengths[0] == lengths[1]


@pytest.mark.parametrize("rounds", [1, 3])
def test_a_round_of_statistics_is_named_with_its_own_length(tmp_path: Path, rounds: int) -> None:
    made = Consortium(tmp_path)
    protocol = asked(privacy=JOINT, rounds=rounds, first_round="statistics")
    bundle = read_bundle(made.bundle(protocol), made.key.public)
    width = feature_path(bundle).width
    sums = [
        each.arrays[0]
        for each in leaving(protocol, width=width, roster=bundle.roster.roster, site="north")
        if each.kind == "masked"
    ]
    assert [array.name for array in sums] == ["statistics", "gradients"][: 1 if rounds == 1 else 2]
    wide = width + 1
    assert sums[0].shape == (wide * (wide + 1) // 2 + 2 * wide,)  # second moments, and those with two classes
    assert np.prod(sums[0].shape) > width
