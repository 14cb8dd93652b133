"""Everything by which a planted patient could be recognised in what leaves: each value, transformed and encoded."""

import base64
import hashlib
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from wardround.client.cohort import build_cohort
from wardround.client.tables import read_table
from wardround.common.learning.features import FeaturePath
from wardround.common.study.protocol import StudyProtocol

SHORTEST = 5  # characters of a text that chance does not write
NEAR = 5e-4  # an input so near to 0 or 1 is a constant of many patients


def marks(protocol: StudyProtocol, table: Path, patient: str, site: str) -> dict[str, bytes]:
    """Name -> bytes that must not occur in what leaves.

    Args:
        protocol: The study, whose public preprocessing is applied.
        table: The hospital's table.
        patient: The planted patient's identifier.
        site: The hospital.
    """
    frame = read_table(table, verbatim=("patient",))
    row = frame[frame["patient"] == patient].iloc[0]
    found = {f"identifier {name}": data for name, data in _texts(patient)}
    found |= {f"identifier {name}": data for name, data in _hashes(patient)}
    for column in row.index:
        cell = str(row[column])
        try:
            found |= {f"{column} {name}": data for name, data in _number(float(cell), [cell])}
        except ValueError:
            continue  # a category; only rare values mark a patient
    inputs = transformed(protocol, table, patient, site)
    for place, value in enumerate(inputs):
        if min(abs(value), abs(abs(value) - 1)) > NEAR:
            found |= {f"input {place} {name}": data for name, data in _number(float(value), [])}
    vector = np.asarray(inputs, np.float32)
    return found | {"all inputs": vector.tobytes(), "all inputs, double": vector.astype(np.float64).tobytes()}


def transformed(protocol: StudyProtocol, table: Path, patient: str, site: str) -> Sequence[float]:
    """The planted patient after clamping, standardising and scaling to unit norm: what the model sees."""
    cohort = build_cohort(
        protocol,
        read_table(table, verbatim=("patient",)),
        site=site,
        path=FeaturePath.from_protocol(protocol, table.parent),
        minimum=1,
    )
    number = cohort.patients.index(patient)
    return [float(value) for value in cohort.rows.inputs[cohort.rows.patient == number][0]]


def _number(value: float, texts: list[str]) -> Iterator[tuple[str, bytes]]:
    """A number as the bytes of every usual type, and as decimal text of every usual length."""
    for form in ("<f", ">f", "<d", ">d"):
        packed = struct.pack(form, value)
        yield f"{value:g} as {form}", packed
        yield from ((f"{value:g} as {form}, {name}", data) for name, data in _carried(packed))
    single = float(np.float32(value))
    written = {*texts, repr(value), repr(single), *(f"{value:.{digits}f}" for digits in (3, 4, 6))}
    for text in sorted(one for one in written if len(one.lstrip("-0.")) >= SHORTEST):
        yield from ((f"{text} {name}", data) for name, data in _texts(text))


def _texts(text: str) -> Iterator[tuple[str, bytes]]:
    """A text in the usual encodings."""
    for encoding in ("ascii", "utf-16-le", "utf-16-be"):
        yield encoding, text.encode(encoding)
    yield from _carried(text.encode())


def _carried(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Bytes as they travel in texts: hexadecimal, and base64 wherever they begin in it."""
    yield "hexadecimal", data.hex().encode()
    yield "HEXADECIMAL", data.hex().upper().encode()
    for shift in range(3):
        whole = base64.b64encode(b"\0" * shift + data)
        inner = whole[(shift * 8 + 5) // 6 : (shift + len(data)) * 8 // 6]
        if len(inner) >= SHORTEST:
            yield f"base64, {shift} bytes in", inner


def _hashes(text: str) -> Iterator[tuple[str, bytes]]:
    for name in ("md5", "sha1", "sha256"):
        made = hashlib.new(name, text.encode())
        yield name, made.digest()
        yield f"{name} in hexadecimal", made.hexdigest().encode()
