"""What leaves a hospital, captured before encryption over a whole private study with errors, on neighbouring cohorts.

Two hospitals hold the same patients but one, and get the same messages. What they send may differ in the noised
numbers, in what is random or names the hospital, and in nothing else; and no patient's value is ever in it.
"""

import base64
import json
import shutil
import struct
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from flwr.app import Context
from flwr.serverapp import Grid, ServerApp
from tests.deployment.wards import Ward, ward
from tests.flowerline import ask, until
from tests.runs import private_study, table

from wardround.client.heldout import SPLIT_KEY
from wardround.client.joining import node_place
from wardround.common.errors import TrustError
from wardround.common.flower.nodes import registered
from wardround.common.flower.places import supernode_command
from wardround.common.flower.records import unpack
from wardround.common.flower.serving import serve
from wardround.common.learning.exchange import EVERYONE, FINISH, NO_MODEL, ROLL_CALL, TASK, unpack_update
from wardround.common.learning.features import FeaturePath
from wardround.common.learning.models import initial
from wardround.common.learning.parameters import parameters_digest, to_bytes
from wardround.common.study.protocol import StudyProtocol
from wardround.common.trust.envelope import open_envelope
from wardround.server.coordinator import Coordinator
from wardround.server.enrolment import current_roster

SITES = ("north", "south")
AGE = 77.123
IDENTIFIER = "918273"


def neighbours() -> pd.DataFrame:
    """Two hospitals with the same rows; the second has one patient more, with values of its own."""
    rows = table({"north": 60})
    marked = rows.iloc[[0]].assign(patient=IDENTIFIER, age=f"{AGE:.3f}")
    both = [rows, pd.concat([rows, marked]).assign(hospital="south")]
    return pd.concat(both, ignore_index=True)


def script(protocol: StudyProtocol, coordinator: Coordinator, site: str, width: int) -> Iterator[bytes]:
    """The messages of a study, honest and not."""
    base = initial(protocol, width)
    model, name = to_bytes(base), parameters_digest(base)
    broken = to_bytes({key: np.full_like(value, np.nan) for key, value in base.items()})
    first = coordinator.seal(site, TASK, model, 1, 1, name)
    yield coordinator.seal(EVERYONE, ROLL_CALL, b"", 0, 0, NO_MODEL)
    yield first
    yield first  # asked twice
    yield b"garbage"
    yield coordinator.seal(site, TASK, broken, 1, 2, name)
    yield coordinator.seal(site, TASK, model, 99, 1, name)
    yield coordinator.seal(site, TASK, model, 2, 1, name)
    yield first  # replayed
    yield coordinator.seal("elsewhere", TASK, model, 2, 1, name)
    yield coordinator.seal(site, TASK, model, 3, 1, name)
    yield coordinator.seal(site, FINISH, b"", 3, 0, NO_MODEL)
    yield coordinator.seal(site, TASK, model, 3, 2, name)


def said(data: bytes, coordinator: Coordinator) -> object:
    """Everything in a reply but the noised numbers, what is random, and the name."""
    try:
        envelope = open_envelope(data, coordinator.roster)
    except TrustError:
        return data
    head = {
        key: getattr(envelope.header, key) for key in envelope.header.__dataclass_fields__ if key != "sender"
    }
    rest: object = len(envelope.body)
    if envelope.header.kind == "update":
        receipt, update = unpack_update(envelope.body)
        facts: list[object] = [
            len(envelope.body),
            receipt.event,
            receipt.ledger_seq,
            len(receipt.ledger_head),
        ]
        facts += [(key, value.shape, str(value.dtype)) for key, value in update.items()]
        rest = facts
    return len(data), head, rest


def tape(path: Path) -> list[tuple[str, bytes]]:
    lines = (json.loads(line) for line in path.read_text(encoding="ascii").splitlines())
    return [(line["path"], base64.b64decode(line["body"])) for line in lines]


def markers() -> list[bytes]:
    """A patient's identifier and value: as text, encoded, and as numbers, raw and standardised."""
    texts = [IDENTIFIER, f"{AGE:.3f}", f"{AGE:.2f}"]
    numbers = [AGE, (AGE - 60) / 10, float(IDENTIFIER)]
    plain = [text.encode() for text in texts]
    encoded = [base64.b64encode(text)[:-2] for text in plain[:1]] + [text.hex().encode() for text in plain]
    packed = [struct.pack(form, number) for number in numbers for form in ("<f", ">f", "<d", ">d")]
    return plain[:2] + encoded + packed


@pytest.mark.slow
def test_neighbouring_cohorts_send_the_same_but_for_the_noised_numbers(tmp_path: Path) -> None:
    protocol = private_study(rounds=3, attempts=3, local_steps=1)
    protocol = replace(protocol, study=replace(protocol.study, name="egress"))
    with ward(tmp_path / "ward", protocol, neighbours()) as made:
        shutil.copy(made.folder("north") / SPLIT_KEY, made.folder("south") / SPLIT_KEY)
        made.agree(protocol)
        made.up("hub")
        tapes = {site: made.root / f"{site}.tape" for site in SITES}
        for site in SITES:
            line(made, site, tapes[site])
        replies = {site: talk(made, protocol, site) for site in SITES}
        assert replies["north"] == replies["south"]
        assert (
            sum(isinstance(reply, tuple) and reply[1]["kind"] == "update" for reply in replies["north"]) == 4
        )
        assert sum(reply == "SiteFailed" for reply in replies["north"]) >= 2
        sent = {site: tape(tapes[site]) for site in SITES}
    order = {site: [path for path, _ in sent[site] if "ush" in path] for site in SITES}
    assert order["north"] == order["south"]
    assert len(order["north"]) >= len(replies["north"])
    for site in SITES:
        whole = b"\0".join(body for _, body in sent[site])
        assert b"ledger_seq" in whole  # the tape holds what leaves
        for marker in markers():
            assert marker not in whole


def line(made: Ward, site: str, path: Path) -> None:
    """A SuperNode and a tapped executor."""
    folder = made.folder(site)
    made.spawn(f"{site}-node", supernode_command(node_place(folder)))
    command = [sys.executable, "-m", "tests.deployment.tapped", str(folder), str(path)]
    made.spawn(f"{site}-executor", command)
    place = made.server.link_place()
    until(lambda: any(one.name == site and one.status == "online" for one in registered(place)))


def talk(made: Ward, protocol: StudyProtocol, site: str) -> list[object]:
    """Send the script to one site; what it answered."""
    place = made.server.link_place()
    home = made.root / f"scripted-{site}"
    home.mkdir()
    width = FeaturePath.from_protocol(protocol, home).width
    coordinator = Coordinator(
        home,
        key=made.server.key(),
        roster=current_roster(made.server.folder).roster,
        protocol=protocol,
        initial=initial(protocol, width),
    )
    node = next(one.number for one in registered(place) if one.name == site)
    found: list[object] = []
    app = ServerApp()

    @app.main()
    def run(grid: Grid, context: Context) -> None:
        for message in script(protocol, coordinator, site, width):
            reply = ask(grid, node, message)
            found.append(
                reply.error.reason if reply.has_error() else said(unpack(reply.content), coordinator)
            )

    serve(app, place)
    return found
