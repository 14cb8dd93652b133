"""Known answers for the secure sum, made from docs/secure-sum.md alone: none of our package is imported.

    python tests/vectors/make_secsum_vectors.py

Keys are fixed. ML-KEM encapsulation draws its own randomness, so ciphertexts are taken from the vectors that exist
already, or drawn where there are none; the secret is always what the receiver finds in the ciphertext.
"""

import base64
import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

GOLDEN = Path(__file__).resolve().parent.parent / "golden/secsum-v1.json"
HYBRID, CLASSIC = "x25519+ml-kem-768", "x25519"
# A name outside ASCII, and upper before lower case: the order is that of code points.
SITES = ("Nord", "east", "zürich")
LENGTH = 9  # not a whole number of cipher blocks


def compact(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8")


def labelled(part: str, **fields: object) -> bytes:
    return compact({"format": "secsum/v1", "part": part} | fields)


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def u32(number: int) -> bytes:
    return bytes([number >> 24 & 255, number >> 16 & 255, number >> 8 & 255, number & 255])


def messages(parts: list[bytes]) -> bytes:
    return u32(len(parts)) + b"".join(u32(len(part)) + part for part in parts)


def fixed(label: str, size: int) -> bytes:
    """Bytes that anybody can make again."""
    return hashlib.shake_256(b"secsum/v1 vectors: " + label.encode()).digest(size)


def envelope(kind: str, name: str, context: dict[str, Any], body: bytes) -> bytes:
    line = compact(
        {
            "format": "wardround-envelope",
            "version": 1,
            "kind": kind,
            "study": context["study"],
            "protocol_digest": context["protocol_digest"],
            "run": context["run"],
            "round": context["round"],
            "attempt": context["attempt"],
            "sender": name,
            "receiver": context["coordinator"],
            "base_model": context["base_model"],
            "body_digest": sha(body),
        }
    )
    signed = b"DSSEv1 34 application/vnd.wardround.envelope " + str(len(line)).encode() + b" " + line
    key = Ed25519PrivateKey.from_private_bytes(fixed(f"identity {name}", 32))
    return line + b"\n" + key.sign(signed) + body


def hkdf(secret: bytes, salt: bytes, info: bytes) -> bytes:
    """RFC 5869 with SHA-256, one block of output."""
    extracted = hmac.new(salt, secret, hashlib.sha256).digest()
    return hmac.new(extracted, info + b"\x01", hashlib.sha256).digest()


def stream(key: bytes, count: int) -> list[int]:
    """Counter mode written out: the cipher encrypts 0, 1, 2, ... as 16 bytes, big-endian."""
    block = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305  (counter mode by hand)
    data = b"".join(block.update(number.to_bytes(16, "big")) for number in range(count // 4 + 1))
    return [int.from_bytes(data[4 * i : 4 * i + 4], "little") for i in range(count)]


def case(title: str, offers: dict[str, list[str]], known: dict[str, Any]) -> dict[str, Any]:
    """One attempt: what every site draws, sends and gets."""
    context: dict[str, Any] = {
        "study": "responders",
        "protocol_digest": sha(b"protocol"),
        "run": sha(b"run")[:32],
        "round": 3,
        "attempt": 2,
        "base_model": sha(b"model"),
        "coordinator": "coordinator",
    }
    suite = HYBRID if all(HYBRID in offer for offer in offers.values()) else CLASSIC
    drawn = {
        name: {"x25519": fixed(f"{title} x25519 {name}", 32), "mlkem": fixed(f"{title} mlkem {name}", 64)}
        for name in SITES
    }
    curve = {name: X25519PrivateKey.from_private_bytes(drawn[name]["x25519"]) for name in SITES}
    lattice = {name: MLKEM768PrivateKey.from_seed_bytes(drawn[name]["mlkem"]) for name in SITES}
    ready = {
        name: envelope(
            "ready",
            name,
            context,
            labelled(
                "ready",
                suites=offers[name],
                x25519=b64(curve[name].public_key().public_bytes_raw()),
                ml_kem_768=b64(lattice[name].public_key().public_bytes_raw())
                if HYBRID in offers[name]
                else "",
            ),
        )
        for name in SITES
    }
    roster = sha(
        labelled(
            "roster", **context, suite=suite, members={name: sha(message) for name, message in ready.items()}
        )
    )
    made = encapsulations(suite, lattice, known)
    agreed = {
        name: envelope(
            "agreed",
            name,
            context,
            labelled(
                "agreed",
                roster=roster,
                suite=suite,
                ciphertexts={peer: b64(made[name, peer][1]) for peer in SITES if (name, peer) in made},
            ),
        )
        for name in SITES
    }
    transcript = sha(
        labelled("transcript", roster=roster, agreed={name: sha(message) for name, message in agreed.items()})
    )
    pairs = {}
    for a in SITES:
        for b in SITES:
            if a < b:
                secret = curve[a].exchange(
                    X25519PublicKey.from_public_bytes(curve[b].public_key().public_bytes_raw())
                )
                if suite == HYBRID:
                    secret += made[a, b][0]
                info = labelled("pair", suite=suite, sites=[a, b])
                pairs[a, b] = hkdf(secret, bytes.fromhex(transcript), info)
    values = {name: words(f"{title} values {name}") for name in SITES}
    masked = {name: mask(name, values[name], pairs) for name in SITES}
    receipts = {name: f"receipt of {name}".encode() for name in SITES}
    uploads = {
        name: envelope(
            "masked",
            name,
            context,
            u32(len(receipts[name]))
            + receipts[name]
            + bytes.fromhex(transcript)
            + b"".join(value.to_bytes(4, "little") for value in masked[name]),
        )
        for name in SITES
    }
    return {
        "title": title,
        "context": context,
        "suite": suite,
        "roster_digest": roster,
        "transcript_digest": transcript,
        "roster_body": b64(messages([ready[name] for name in sorted(SITES)])),
        "agreements_body": b64(messages([agreed[name] for name in sorted(SITES)])),
        "pair_keys": {f"{a} {b}": key.hex() for (a, b), key in pairs.items()},
        "sum": [sum(column) % 2**32 for column in zip(*values.values(), strict=True)],
        "sites": {
            name: {
                "identity": fixed(f"identity {name}", 32).hex(),
                "suites": offers[name],
                "x25519": drawn[name]["x25519"].hex(),
                "mlkem": drawn[name]["mlkem"].hex(),
                "encapsulations": {
                    peer: {"secret": made[name, peer][0].hex(), "ciphertext": b64(made[name, peer][1])}
                    for peer in SITES
                    if (name, peer) in made
                },
                "values": values[name],
                "receipt": receipts[name].decode(),
                "masked": masked[name],
                "ready": b64(ready[name]),
                "agreed": b64(agreed[name]),
                "upload": b64(uploads[name]),
            }
            for name in SITES
        },
    }


def encapsulations(
    suite: str, lattice: dict[str, MLKEM768PrivateKey], known: dict[str, Any]
) -> dict[tuple[str, str], tuple[bytes, bytes]]:
    """(a, b) -> secret and ciphertext."""
    made = {}
    for a in SITES:
        for b in SITES:
            if suite == HYBRID and a < b:
                old = known.get("sites", {}).get(a, {}).get("encapsulations", {}).get(b)
                known_text = old and base64.b64decode(old["ciphertext"])
                ciphertext = known_text or lattice[b].public_key().encapsulate()[1]
                made[a, b] = lattice[b].decapsulate(ciphertext), ciphertext
    return made


def words(label: str) -> list[int]:
    data = fixed(label, 4 * LENGTH)
    found = [int.from_bytes(data[4 * i : 4 * i + 4], "little") for i in range(LENGTH)]
    return [0, 2**32 - 1, *found[2:]]


def mask(name: str, values: list[int], pairs: dict[tuple[str, str], bytes]) -> list[int]:
    for (a, b), key in pairs.items():
        sign = 1 if name == a else -1 if name == b else 0
        values = [
            (value + sign * more) % 2**32 for value, more in zip(values, stream(key, LENGTH), strict=True)
        ]
    return values


def vectors() -> str:
    """The text of the file."""
    old = json.loads(GOLDEN.read_bytes()) if GOLDEN.exists() else {"cases": []}
    known = {entry["title"]: entry for entry in old["cases"]}
    both = [HYBRID, CLASSIC]
    offers = {
        "every site offers the hybrid": {"Nord": both, "east": [HYBRID], "zürich": both},
        "one site lacks the hybrid": {"Nord": both, "east": [CLASSIC], "zürich": both},
    }
    cases = [case(title, offer, known.get(title, {})) for title, offer in offers.items()]
    made = {"format": "secsum-vectors", "version": 1, "document": "docs/secure-sum.md", "cases": cases}
    return json.dumps(made, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    GOLDEN.write_text(vectors(), encoding="utf-8")
