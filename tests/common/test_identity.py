"""Keys and rosters: known answers of RFC 8032, openssl as a second opinion, and everything that is refused."""

import copy
import hashlib
import pickle
import shutil
import stat
import subprocess
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from wardround.common.errors import StorageError, TrustError, UsageError
from wardround.common.formats import digest
from wardround.common.trust.identity import PublicKey, Roster, SigningKey
from wardround.common.trust.signed import encoded

# RFC 8032, section 7.1, test 3.
SECRET = bytes.fromhex("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7")
PUBLIC = bytes.fromhex("fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025")
DOMAIN = "application/vnd.wardround+json"


def key(number: int) -> SigningKey:
    return SigningKey(Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32))


def roster() -> Roster:
    return Roster(
        coordinator="coordinator",
        coordinator_key=key(9).public,
        sites={"north": key(2).public, "east": key(1).public},
    )


def test_a_known_secret_has_the_public_key_of_rfc_8032() -> None:
    known = SigningKey(Ed25519PrivateKey.from_private_bytes(SECRET))
    assert known.public.raw == PUBLIC
    assert known.public.fingerprint == digest(PUBLIC)
    assert known.public.short.replace(" ", "") == digest(PUBLIC)[:16]
    assert "c5aa8df4" not in repr(known)


def test_a_signature_is_made_over_the_encoding_of_dsse() -> None:
    # The example of DSSE's protocol.md.
    assert encoded("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )
    plain = Ed25519PrivateKey.from_private_bytes(bytes([1]) * 32)
    assert key(1).sign(DOMAIN, b"m") == plain.sign(b"DSSEv1 30 application/vnd.wardround+json 1 m")


def test_a_signature_is_good_for_one_key_one_purpose_and_one_message() -> None:
    signature = key(1).sign(DOMAIN, b"message")
    key(1).public.verify(DOMAIN, b"message", signature)
    for wrong in (
        (key(2).public, DOMAIN, b"message", signature),
        (key(1).public, DOMAIN + "x", b"message", signature),
        (key(1).public, DOMAIN, b"massage", signature),
        (key(1).public, DOMAIN, b"message", signature[:-1]),
        (key(1).public, DOMAIN, b"message", b""),
    ):
        with pytest.raises(TrustError, match="does not belong to key"):
            wrong[0].verify(*wrong[1:])


def test_moving_bytes_between_purpose_and_message_makes_another_signature() -> None:
    signature = key(1).sign("ab", b"c")
    with pytest.raises(TrustError):
        key(1).public.verify("a", b"bc", signature)


def test_a_second_spelling_of_a_signature_is_refused() -> None:
    order = 2**252 + 27742317777372353535851937790883648493
    signature = key(1).sign(DOMAIN, b"m")
    shifted = int.from_bytes(signature[32:], "little") + order
    with pytest.raises(TrustError):
        key(1).public.verify(DOMAIN, b"m", signature[:32] + shifted.to_bytes(32, "little"))


def test_generated_keys_differ() -> None:
    assert SigningKey.generate().public != SigningKey.generate().public


PRIME = 2**255 - 19
CURVE_D = -121665 * pow(121666, -1, PRIME) % PRIME


def add(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    """Addition on the twisted Edwards curve, straight from RFC 8032, section 5.1."""
    (x1, y1), (x2, y2) = a, b
    t = CURVE_D * x1 * x2 * y1 * y2 % PRIME
    x = (x1 * y2 + y1 * x2) * pow(1 + t, -1, PRIME) % PRIME
    return x, (y1 * y2 + x1 * x2) * pow(1 - t, -1, PRIME) % PRIME


def small_order_points() -> set[tuple[int, int]]:
    """The eight points P with 8 P = 0, found as multiples of L times some point of the curve."""
    order = 2**252 + 27742317777372353535851937790883648493
    found = {(0, 1)}
    for y in range(2, 40):
        square = (y * y - 1) * pow(CURVE_D * y * y + 1, -1, PRIME) % PRIME
        x = pow(square, (PRIME + 3) // 8, PRIME)
        if x * x % PRIME != square:
            x = x * pow(2, (PRIME - 1) // 4, PRIME) % PRIME
        if x * x % PRIME == square:
            point, total = (x, y), (0, 1)
            for bit in bin(order)[2:]:
                total = add(total, total)
                total = add(total, point) if bit == "1" else total
            found.add(total)
    return found


def test_points_of_small_order_are_no_keys() -> None:
    points = small_order_points()
    assert len(points) == 8
    for x, y in points:
        for sign in (x & 1, 1 - (x & 1)):
            with pytest.raises(TrustError, match="bytes that are none"):
                PublicKey((y | sign << 255).to_bytes(32, "little"))


@pytest.mark.parametrize("raw", [b"", PUBLIC[:31], PUBLIC + b"x", (PRIME + 3).to_bytes(32, "little")])
def test_bytes_that_are_no_canonical_key_are_refused(raw: bytes) -> None:
    with pytest.raises(TrustError, match="bytes that are none"):
        PublicKey(raw)


def test_a_public_key_is_read_back_and_only_in_one_spelling() -> None:
    public = PublicKey(PUBLIC)
    assert PublicKey.decode(public.encode()) == public
    stray = public.encode()[:-2] + chr(ord(public.encode()[-2]) + 1) + "="
    for text in ("", "!", stray, public.encode() + "\n", public.encode()[:-1], 7, None):
        with pytest.raises(TrustError):
            PublicKey.decode(text)


def test_a_saved_key_is_private_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "site.key"
    key(1).save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----")
    assert SigningKey.load(path).public == key(1).public


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "site.key"
    key(1).save(path)
    with pytest.raises(StorageError, match="never overwritten"):
        key(2).save(path)
    assert SigningKey.load(path).public == key(1).public


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o620])
def test_a_key_that_others_may_touch_is_refused_with_the_command_to_type(mode: int, tmp_path: Path) -> None:
    path = tmp_path / "site.key"
    key(1).save(path)
    path.chmod(mode)
    with pytest.raises(TrustError, match=f"found mode {mode:03o}") as caught:
        SigningKey.load(path)
    assert f"chmod 600 {path}" in caught.value.advice


def other_key() -> bytes:
    form, secret = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return X25519PrivateKey.generate().private_bytes(serialization.Encoding.PEM, form, secret)


@pytest.mark.parametrize("data", [b"", b"not a key", key(1).public.pem(), other_key()])
def test_a_file_without_an_open_ed25519_key_is_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "site.key"
    path.write_bytes(data)
    path.chmod(0o600)
    with pytest.raises(TrustError, match="expected an Ed25519 private key"):
        SigningKey.load(path)


def test_a_missing_key_and_a_missing_folder_are_storage_errors(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="could not read the key"):
        SigningKey.load(tmp_path / "none")
    with pytest.raises(StorageError, match="could not write"):
        key(1).save(tmp_path / "none" / "site.key")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_openssl_reads_our_keys(tmp_path: Path) -> None:
    key(1).save(tmp_path / "site.key")
    shown = subprocess.run(
        ["openssl", "pkey", "-in", tmp_path / "site.key", "-pubout"], capture_output=True, check=True
    )
    assert shown.stdout == key(1).public.pem()


def test_a_roster_knows_its_parties() -> None:
    assert roster().site_names == ("east", "north")
    assert roster().key("north") == key(2).public
    assert roster().key("coordinator") == key(9).public
    assert roster().name_of(key(1).public.fingerprint) == "east"
    assert roster().name_of(key(9).public.fingerprint) == "coordinator"


def test_a_stranger_is_not_in_the_roster() -> None:
    with pytest.raises(TrustError, match="'south' is not in the roster"):
        roster().key("south")
    with pytest.raises(TrustError, match="belongs to nobody"):
        roster().name_of(key(7).public.fingerprint)


def test_the_digest_of_a_roster_does_not_depend_on_the_order_of_its_sites() -> None:
    turned = Roster(
        coordinator="coordinator",
        coordinator_key=key(9).public,
        sites=dict(reversed(list(roster().sites.items()))),
    )
    assert turned == roster()
    assert turned.digest == roster().digest
    spelled = (
        f'{{"coordinator":{{"key":"{key(9).public.encode()}","name":"coordinator"}},"format":"wardround-roster",'
        f'"sites":{{"east":"{key(1).public.encode()}","north":"{key(2).public.encode()}"}},"version":1}}'
    )
    assert roster().digest == hashlib.sha256(spelled.encode()).hexdigest()


def test_a_roster_survives_its_file_a_pickle_and_a_copy() -> None:
    assert Roster.from_dict(roster().to_dict()) == roster()
    assert pickle.loads(pickle.dumps(roster())) == roster()  # noqa: S301  # our own bytes
    assert copy.deepcopy(roster()) == roster()
    assert hash(roster()) == hash(copy.deepcopy(roster()))


def test_a_roster_cannot_be_changed() -> None:
    sites = {"east": key(1).public}
    frozen = Roster(coordinator="c", coordinator_key=key(9).public, sites=sites)
    sites["late"] = key(3).public
    assert frozen.site_names == ("east",)
    with pytest.raises(TypeError):
        frozen.sites["late"] = key(3).public  # type: ignore[index]
    with pytest.raises(FrozenInstanceError):
        frozen.coordinator = "other"  # type: ignore[misc]


def test_one_key_for_two_parties_is_refused() -> None:
    with pytest.raises(TrustError, match="one key used twice"):
        Roster(coordinator="c", coordinator_key=key(9).public, sites={"a": key(1).public, "b": key(1).public})
    with pytest.raises(TrustError, match="one key used twice"):
        Roster(coordinator="c", coordinator_key=key(9).public, sites={"a": key(9).public})


def test_one_name_for_two_parties_is_refused() -> None:
    with pytest.raises(TrustError, match="names both the coordinator and a site"):
        Roster(coordinator="a", coordinator_key=key(9).public, sites={"a": key(1).public})


@pytest.mark.parametrize("name", ["", " a", "a ", "a\n", "a\u200b", "a\u0301", "x" * 201, "tab\t"])
def test_a_name_that_can_be_misread_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="expected a name"):
        Roster(coordinator="c", coordinator_key=key(9).public, sites={name: key(1).public})


@pytest.mark.parametrize("name", ["Charité", "St. Mary's, London", "大学病院", "x" * 200])
def test_names_of_real_hospitals_are_accepted(name: str) -> None:
    assert Roster(coordinator="c", coordinator_key=key(9).public, sites={name: key(1).public}).site_names == (
        name,
    )


def test_a_roster_without_sites_is_refused() -> None:
    with pytest.raises(UsageError, match="at least one site"):
        Roster(coordinator="c", coordinator_key=key(9).public, sites={})


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"version": 2}, StorageError),
        ({"format": "other"}, StorageError),
        ({"extra": 1}, TrustError),
        ({"coordinator": {"name": "c"}}, TrustError),
        ({"coordinator": {"name": "c", "key": "AAAA"}}, TrustError),
        ({"coordinator": {"name": "c", "key": key(9).public.encode(), "role": "root"}}, TrustError),
        ({"sites": ["a"]}, TrustError),
        ({"sites": {"a": 1}}, TrustError),
    ],
)
def test_a_roster_file_with_anything_else_in_it_is_refused(
    change: dict[str, object], error: type[Exception]
) -> None:
    with pytest.raises(error):
        Roster.from_dict(roster().to_dict() | change)
