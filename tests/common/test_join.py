"""Join requests and invites: self-consistent, signed, strict, and readable for ever."""

import json
from dataclasses import replace

import pytest
from tests.enrolling import GOLDEN, key, node_line, request

from wardround.common.errors import StorageError, TrustError, UsageError
from wardround.common.formats import canonical
from wardround.common.trust.join import (
    INVITE,
    REQUEST,
    Invite,
    JoinRequest,
    check_host,
    invite_fields,
    open_invite,
    open_request,
    seal_invite,
    seal_request,
    split_address,
)
from wardround.common.trust.sealed import seal_file
from wardround.common.trust.signed import LOG_DOMAIN, text_of

NORTH = JoinRequest(name="north", key=key(1).public, node_key=node_line(1))
CA = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
FOR_NORTH = Invite(
    coordinator="hub", coordinator_key=key(9).public, host="fl.example.org", port=8443, ca=CA, site=NORTH
)


def changed(data: bytes, **fields: object) -> bytes:
    return json.dumps({**json.loads(data), **fields}).encode()


def test_a_request_is_read_back() -> None:
    assert open_request(request("north", 1)) == NORTH


def test_an_invite_is_read_back() -> None:
    assert open_invite(seal_invite(key(9), FOR_NORTH)) == FOR_NORTH
    with pytest.raises(UsageError, match="the invite's own coordinator"):
        seal_invite(key(8), FOR_NORTH)


@pytest.mark.parametrize(
    ("field", "value"),
    [("name", "south"), ("key", key(2).public.encode()), ("node_key", node_line(2)), ("signature", "AAAA")],
)
def test_a_request_that_was_changed_on_its_way_is_refused(field: str, value: object) -> None:
    with pytest.raises(TrustError, match="the signature does not belong"):
        open_request(changed(request("north", 1), **{field: value}))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("address", "evil.example.org:8443"),
        ("ca", CA.replace("A", "B")),
        ("coordinator", {"name": "hub", "key": key(8).public.encode()}),
        ("coordinator", {"name": "hup", "key": key(9).public.encode()}),
        ("site", {**NORTH.to_dict(), "name": "south"}),
    ],
)
def test_an_invite_that_was_changed_on_its_way_is_refused(field: str, value: object) -> None:
    with pytest.raises(TrustError, match="the signature does not belong"):
        open_invite(changed(seal_invite(key(9), FOR_NORTH), **{field: value}))


def test_a_signature_of_one_kind_is_none_of_another() -> None:
    # The very same bytes, signed as a line of a study log.
    body = {"format": REQUEST.format, "version": 1, **NORTH.to_dict()}
    signature = text_of(key(1).sign(LOG_DOMAIN, canonical(body)))
    with pytest.raises(TrustError, match="the signature does not belong"):
        open_request(json.dumps({**body, "signature": signature}).encode())


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"name": ""}, "expected a name"),
        ({"name": "a\nb"}, "expected a name"),
        ({"name": 3}, "a name, a key and a node key"),
        ({"node_key": "ssh-ed25519 AAAA"}, "expected a node key"),
        ({"node_key": node_line(1) + " someone@host"}, "one spelling"),
        ({"node_key": None}, "a name, a key and a node key"),
    ],
)
def test_a_request_that_says_nothing_sensible_is_refused(fields: dict[str, object], why: str) -> None:
    with pytest.raises(TrustError, match=why):
        open_request(seal_file(key(1), REQUEST, {**NORTH.to_dict(), **fields}), where="request.json")


@pytest.mark.parametrize("field", ["name", "key", "node_key", "signature"])
def test_a_missing_or_unknown_field_is_refused_by_name(field: str) -> None:
    found = json.loads(request("north", 1))
    del found[field]
    with pytest.raises(TrustError, match=f"expected key '{field}'"):
        open_request(json.dumps(found).encode())
    with pytest.raises(TrustError, match="unknown key 'code'"):
        open_request(changed(request("north", 1), code="import os"))


def test_a_name_twice_is_refused() -> None:
    data = request("north", 1).replace(b'"name":', b'"name": "south",\n "name":')
    with pytest.raises(TrustError, match="one whole JSON object"):
        open_request(data)


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"NaN", b'{"a": NaN}', b"\xff\xfe", b"[" * 100_000, b'{"a": "\\ud800"}']
)
def test_what_is_no_json_object_is_refused(data: bytes) -> None:
    for read in (open_request, open_invite):
        with pytest.raises(TrustError, match="one whole JSON object"):
            read(data)


def test_the_wrong_file_is_named() -> None:
    with pytest.raises(StorageError, match=r"expected an invite .* found a join request"):
        open_invite(request("north", 1))
    with pytest.raises(StorageError, match=r"expected a join request .* found an invite"):
        open_request(seal_invite(key(9), FOR_NORTH))
    with pytest.raises(StorageError, match="expected a wardround-join-request file"):
        open_request(b'{"format": "something"}')


def test_a_newer_version_is_refused_with_advice() -> None:
    for data, read in ((request("north", 1), open_request), (seal_invite(key(9), FOR_NORTH), open_invite)):
        with pytest.raises(StorageError, match="version 2; this release reads") as caught:
            read(changed(data, version=2, more=1))
        assert "newer wardround" in caught.value.advice


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("fl.example.org:8443", ("fl.example.org", 8443)),
        ("10.0.0.7:443", ("10.0.0.7", 443)),
        ("[2001:db8::1]:9000", ("2001:db8::1", 9000)),
    ],
)
def test_addresses(text: str, found: tuple[str, int]) -> None:
    assert split_address(text) == found
    assert replace(FOR_NORTH, host=found[0], port=found[1]).address == text
    bare = text.rpartition(":")[0]
    assert split_address(bare, default_port=7) == (found[0], 7)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "host",
        "host:",
        ":8443",
        "host:0",
        "host:65536",
        "host:8443x",
        "host:٣",
        "a b:1",
        "https://a:1",
        "999.1.1.1:1",
        "-a:1",
        "a/b:1",
        "fe80::1%eth0:1",
        "x" * 64 + ":1",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        split_address(text)
    with pytest.raises(TrustError):
        open_invite(seal_file(key(9), INVITE, {**invite_fields(FOR_NORTH), "address": text}))


def test_a_host_is_a_name_or_an_address() -> None:
    assert check_host("2001:db8::1") == "2001:db8::1"
    with pytest.raises(UsageError, match="host name or an IP address"):
        check_host("*.example.org")


def test_requests_and_invites_of_version_1_stay_readable() -> None:
    asked = (GOLDEN / "join-request-v1.json").read_bytes()
    assert open_request(asked) == NORTH
    assert seal_request(key(1), "north", node_line(1)) == asked
    invite = open_invite((GOLDEN / "invite-v1.json").read_bytes())
    assert replace(invite, ca=CA) == FOR_NORTH
    assert seal_invite(key(9), invite) == (GOLDEN / "invite-v1.json").read_bytes()
