"""The log service over real gRPC and mutual TLS on loopback: proofs, followers, strangers, liars and the impatient."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.logs import STUDY, Service, Witness, Writer, hub, running, writer

from wardround.common.audit.logwire import Page
from wardround.common.trust.checkpoint import cosign, verify
from wardround.common.trust.merkle import verify_consistency, verify_inclusion
from wardround.common.trust.signed import utc_now
from wardround.server.serverfile import ServerFile


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> ServerFile:
    return hub(tmp_path_factory.mktemp("hub"))


@pytest.fixture(scope="module")
def written(server: ServerFile) -> Writer:
    made = writer(server)
    made.add(20)
    made.sign()
    return made


@pytest.fixture(scope="module")
def service(server: ServerFile, written: Writer) -> Iterator[Service]:
    with running(server) as made:
        yield made


@pytest.fixture(scope="module")
def witness(server: ServerFile, tmp_path_factory: pytest.TempPathFactory) -> Witness:
    return Witness(server, tmp_path_factory.mktemp("witness"), 50)


def test_lines_proofs_and_the_newest_checkpoint_are_served(
    service: Service, written: Writer, witness: Witness
) -> None:
    with witness.client() as client:
        assert client.studies() == {STUDY: 21}
        signed = client.checkpoint(STUDY)
        verify(signed, origin=written.origin, coordinator=witness.coordinator)
        page = client.entries(STUDY, 3, 5)
        assert page == Page(start=3, lines=tuple(written.lines[3:8]))
        root = signed.checkpoint.root
        verify_inclusion(page.lines[0], 3, root, 21, client.inclusion(STUDY, 3, 21))
        from wardround.common.trust.merkle import Tree
        verify_consistency(9, Tree(written.lines).root(9), 21, root, client.consistency(STUDY, 9, 21))


def test_follow_and_cosign(service: Service, written: Writer, witness: Witness) -> None:
    log = witness.log()
    with witness.client() as client:
        for step in client.follow(STUDY, log.size):
            new = log.take(step)
            if new:
                client.cosign(STUDY, new.checkpoint.size, cosign(witness.key, new.checkpoint, time=utc_now()))
                break
        signed = client.checkpoint(STUDY)
        found = verify(signed, origin=written.origin, coordinator=witness.coordinator, cosigners=[witness.key.public])
        assert len(found) == 1
