"""The log service over real gRPC and mutual TLS on loopback: proofs, strangers, liars, and calls that mean nothing."""

import socket
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.enrolling import key as key_of
from tests.enrolling import let_in, request, words_of
from tests.logs import STUDY, Service, Witness, Writer, hub, running, writer

from wardround.common.audit import logwire
from wardround.common.audit.logclient import LaterError, LogClient, ShorterError
from wardround.common.audit.logwire import Page
from wardround.common.errors import TrustError, UsageError
from wardround.common.formats import canonical
from wardround.common.trust.checkpoint import Checkpoint, cosign, sign, verify
from wardround.common.trust.join import split_address
from wardround.common.trust.merkle import Tree, verify_consistency, verify_inclusion
from wardround.common.trust.signed import utc_now
from wardround.server.enrolment import remove
from wardround.server.logclients import Limits
from wardround.server.serverfile import ServerFile
from wardround.server.witnesses import admit, withdraw

METHODS = sorted(logwire.REQUESTS)
GENEROUS = Limits(rate=1e6, burst=1e6, look=0.05)


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
    with running(server, GENEROUS) as made:
        yield made


@pytest.fixture(scope="module")
def witness(server: ServerFile, tmp_path_factory: pytest.TempPathFactory) -> Witness:
    return Witness(server, tmp_path_factory.mktemp("witness"), 50)


@pytest.fixture(scope="module")
def client(service: Service, witness: Witness) -> Iterator[LogClient]:
    with witness.client(service) as made:
        yield made


def raw(client: LogClient, method: str, data: bytes) -> grpc.StatusCode:
    """The status of any bytes to any method."""
    try:
        if method.endswith("/Follow"):
            call = client._channel.unary_stream(method)(data, timeout=20)
            next(iter(call))
            call.cancel()
        else:
            client._channel.unary_unary(method)(data, timeout=20)
    except grpc.RpcError as error:
        return error.code()  # type: ignore[attr-defined, no-any-return, unused-ignore]
    return grpc.StatusCode.OK


def test_lines_proofs_and_the_newest_checkpoint_are_served(
    written: Writer, witness: Witness, client: LogClient
) -> None:
    signed = client.checkpoint(STUDY)
    verify(signed, origin=written.origin, coordinator=witness.coordinator)
    page = client.entries(STUDY, 3, 5)
    assert page == Page(start=3, lines=tuple(written.lines[3:8]))
    root, tree = signed.checkpoint.root, Tree(written.lines)
    verify_inclusion(page.lines[0], 3, root, 21, client.inclusion(STUDY, 3, 21))
    verify_consistency(9, tree.root(9), 21, root, client.consistency(STUDY, 9, 21))
    assert client.studies()[STUDY] == 21


def test_a_stream_gives_every_line_and_then_their_checkpoint(written: Writer, client: LogClient) -> None:
    stream = client.follow(STUDY, 18)
    assert next(stream) == Page(start=18, lines=tuple(written.lines[18:]))
    assert next(stream) == client.checkpoint(STUDY)
    stream.close()


def test_what_is_not_there_is_refused(client: LogClient) -> None:
    for ask in (
        lambda: client.entries(STUDY, 21, 1),
        lambda: client.entries(STUDY, 0, 0),
        lambda: client.inclusion(STUDY, 21, 21),
        lambda: client.inclusion(STUDY, 0, 22),
        lambda: client.consistency(STUDY, 3, 22),
        lambda: client.consistency(STUDY, 3, 2),
        lambda: next(client.follow(STUDY, 22)),
    ):
        with pytest.raises(ShorterError):
            ask()
    with pytest.raises(UsageError, match="no study of this name is shown here"):
        client.checkpoint("other")


@pytest.mark.parametrize("name", ["../hub", "..", "/etc", "brca/federation", "", "brca\x00", "x" * 10_000])
def test_a_name_never_becomes_a_path(client: LogClient, name: str) -> None:
    with pytest.raises(UsageError, match="no study of this name is shown here"):
        client.checkpoint(name)


@settings(max_examples=40)
@given(method=st.sampled_from(METHODS), data=st.binary(max_size=200))
def test_bytes_that_mean_nothing_are_refused_and_nothing_breaks(
    client: LogClient, method: str, data: bytes
) -> None:
    assert raw(client, logwire.path(method), data) == grpc.StatusCode.INVALID_ARGUMENT


@settings(max_examples=40)
@given(
    method=st.sampled_from(METHODS),
    fields=st.dictionaries(
        st.sampled_from(["study", "start", "count", "number", "size", "old", "line", "x"]),
        st.one_of(
            st.integers(), st.text(max_size=9), st.booleans(), st.none(), st.just(STUDY), st.lists(st.none())
        ),
    ),
)
def test_a_request_of_the_wrong_fields_is_refused_by_a_status_that_says_so(
    client: LogClient, method: str, fields: dict[str, object]
) -> None:
    code = raw(client, logwire.path(method), canonical(fields))
    said_no = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.OUT_OF_RANGE}
    assert code in said_no | {grpc.StatusCode.OK}
    if set(fields) != set(logwire.REQUESTS[method]):
        assert code == grpc.StatusCode.INVALID_ARGUMENT


def test_a_long_request_is_not_read(client: LogClient) -> None:
    data = logwire.request("Cosign", study=STUDY, size=21, line="x" * logwire.LARGEST_REQUEST)
    assert raw(client, logwire.path("Cosign"), data) == grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize(
    "method",
    [
        "/wardround.log.v1.Log/Append",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        "/grpc.health.v1.Health/Watch",
        "/flwr.proto.Fleet/PullMessages",
    ],
)
def test_nothing_else_is_offered(client: LogClient, method: str) -> None:
    assert raw(client, method, b"") == grpc.StatusCode.UNIMPLEMENTED


def test_the_health_is_told(client: LogClient) -> None:
    check = client._channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        request_serializer=HealthCheckRequest.SerializeToString,
        response_deserializer=HealthCheckResponse.FromString,
    )
    for name in ("", logwire.SERVICE):
        assert check(HealthCheckRequest(service=name)).status == HealthCheckResponse.SERVING
    assert raw(client, "/grpc.health.v1.Health/Check", b"\xff") == grpc.StatusCode.INVALID_ARGUMENT
    unknown = HealthCheckRequest(service="x").SerializeToString()
    assert raw(client, "/grpc.health.v1.Health/Check", unknown) == grpc.StatusCode.NOT_FOUND


def test_noise_on_the_port_changes_nothing(service: Service, client: LogClient) -> None:
    for noise in (
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\xff\xff" + b"A" * 5000,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ):
        with socket.create_connection(split_address(service.address), timeout=10) as line:
            line.sendall(noise)
    assert client.studies()[STUDY] == 21


def test_nobody_without_a_certificate_is_served(server: ServerFile, service: Service) -> None:
    trusting = grpc.ssl_channel_credentials(root_certificates=server.ca.read_bytes())
    assert stranger(service.address, trusting) == grpc.StatusCode.UNAVAILABLE


def test_the_certificate_of_another_authority_opens_nothing(
    server: ServerFile, service: Service, tmp_path: Path
) -> None:
    other = hub(tmp_path / "other")
    mallory = Witness(other, tmp_path / "mallory", 66)
    with (
        LogClient(
            server.log_address, mallory.given_with(ca=server.ca.read_text()), mallory.node_key
        ) as client,
        pytest.raises(LaterError),
    ):
        client.studies()


def test_the_servers_own_certificate_opens_nothing(server: ServerFile, service: Service) -> None:
    """It is for a server: whoever steals it can pretend to be the service, and follows no log."""
    mine = grpc.ssl_channel_credentials(
        server.ca.read_bytes(), server.certificate_key.read_bytes(), server.certificate.read_bytes()
    )
    assert stranger(service.address, mine) == grpc.StatusCode.UNAVAILABLE


def stranger(address: str, credentials: grpc.ChannelCredentials) -> grpc.StatusCode:
    with grpc.secure_channel(address, credentials) as channel:
        try:
            channel.unary_unary(logwire.path("Studies"))(b"{}", timeout=20)
        except grpc.RpcError as error:
            return error.code()  # type: ignore[attr-defined, no-any-return, unused-ignore]
    return grpc.StatusCode.OK


def test_a_member_follows_with_the_keys_it_is_enrolled_with(
    server: ServerFile, service: Service, tmp_path: Path
) -> None:
    data = request("east", 31)
    let_in(server, data)
    member = Witness(server, tmp_path, 31, name="east")
    with member.client(service) as client:
        assert client.studies()[STUDY] == 21
        remove(server.folder, "east")
        with pytest.raises(TrustError, match="belongs to nobody who may follow the log now"):
            client.studies()


def test_a_witness_that_was_taken_out_is_refused_at_once_and_its_stream_ends(
    server: ServerFile, written: Writer, tmp_path: Path
) -> None:
    gone = Witness(server, tmp_path, 52)
    with running(server, Limits(look=0.05, stall=0.2)) as service, gone.client(service) as client:
        call = client._channel.unary_stream(logwire.path("Follow"))
        stream = call(logwire.request("Follow", study=STUDY, start=0), timeout=20)
        next(stream), next(stream)
        withdraw(server.folder, gone.name)
        with pytest.raises(grpc.RpcError) as caught:
            next(stream)
        assert caught.value.code() == grpc.StatusCode.PERMISSION_DENIED
        with pytest.raises(TrustError, match="belongs to nobody who may follow the log now"):
            client.checkpoint(STUDY)


def test_new_keys_take_the_place_of_old_ones(server: ServerFile, service: Service, tmp_path: Path) -> None:
    old = Witness(server, tmp_path / "old", 53)
    data = request(old.name, 53, node=54)
    with pytest.raises(TrustError, match="enrolled with another node key"):
        admit(server.folder, data, words=words_of(data))
    admit(server.folder, data, words=words_of(data), replace=old.name)
    with old.client(service) as client, pytest.raises(TrustError, match="belongs to nobody"):
        client.studies()


def test_nobody_cosigns_for_another_or_for_what_is_not_shown(
    server: ServerFile, service: Service, written: Writer, client: LogClient
) -> None:
    checkpoint = client.checkpoint(STUDY).checkpoint
    other = Checkpoint(origin=checkpoint.origin, size=21, root=Tree([b"x"]).root())
    for line in (
        cosign(key_of(51), checkpoint, time=utc_now()),
        cosign(key_of(50), other, time=utc_now()),
        sign(key_of(50), checkpoint).signatures[0],
    ):
        with pytest.raises(TrustError, match="INVALID_ARGUMENT"):
            client.cosign(STUDY, 21, line)
    with pytest.raises(UsageError, match="no such checkpoint is shown"):
        client.cosign(STUDY, 20, cosign(key_of(50), checkpoint, time=utc_now()))
    assert not (written.folder / "cosignatures.jsonl").exists()
