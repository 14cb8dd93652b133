"""Whatever bytes a bundle holds, `verify`, `epsilon` and `report` end with a verdict and never with a traceback."""

import random
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest
from tests.auditing import Record, finished, ledger_of, with_manifest
from tests.studies import private_protocol

from wardround.cli import main
from wardround.common.audit.page import render
from wardround.common.audit.verdicts import REFUTED
from wardround.common.audit.verify import verify

LOG = "study-log.jsonl"


@cache
def record() -> Record:
    """An honest record, made once per process."""
    return finished(Path(mkdtemp(prefix="audit-commands-")), private_protocol(rounds=2))


def judged_by_all(bundle: Path, out: Path) -> dict[str, int]:
    """Exit code of each command."""
    name = str(bundle)
    return {
        "verify": main(["audit", "verify", name]),
        "epsilon": main(["audit", "epsilon", name]),
        "json": main(["audit", "epsilon", name, "--json"]),
        "report": main(["audit", "report", name, "--out", str(out)]),
    }


def with_bytes(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """Change one file of a bundle."""

    def apply(bundle: Path) -> None:
        (bundle / name).write_bytes(change((bundle / name).read_bytes()))

    return apply


def swapped(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    return lambda data: data.replace(old, new, 1)


BROKEN: dict[str, Callable[[Path], None]] = {
    "no line": with_bytes(LOG, lambda _: b""),
    "no text": with_bytes(LOG, lambda _: b"\xff\xfe\x00\n"),
    "nested too deep": with_bytes(LOG, lambda data: b"[" * 100_000 + b"\n" + data),
    "a number too long": with_bytes(LOG, lambda data: b'{"payload":' + b"9" * 10_000 + b"}\n" + data),
    "another type": with_bytes(LOG, lambda data: b'{"payload":5}\n' + data),
    "a torn end": with_bytes(LOG, lambda data: data[:-20]),
    "a changed signature": with_bytes(LOG, swapped(b'"sig":"', b'"sig":"A')),
    "no protocol": with_bytes("study.toml", lambda _: b"\xff[["),
    "a protocol of no rounds": with_bytes("study.toml", swapped(b"rounds = 2", b"rounds = -2")),
    "a protocol nested too deep": with_bytes("study.toml", lambda _: b"a = " + b"[" * 5_000),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_log_that_cannot_be_relied_on_ends_every_command_alike(
    what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = record().hand_over(tmp_path / "bundle")
    BROKEN[what](bundle)
    with_manifest(bundle, record().protocol)
    assert set(judged_by_all(bundle, tmp_path / "page.html").values()) == {REFUTED}
    assert "every line of the log is signed" in (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Traceback" not in capsys.readouterr().err


def noisy(noise: str) -> dict[str, object]:
    return {"kind": "gaussian-steps", "noise_multiplier": noise, "sample_rate": "1.0", "steps": 10**30}


LIES: dict[str, Callable[[Record, int], Record]] = {
    "an attempt of another type": lambda told, at: told.with_line(at, attempt="1"),
    "an endless attempt": lambda told, at: told.with_line(at, attempt=10**400),
    "sites that are none": lambda told, at: told.with_line(at, sites={"north": 5}),
    "no sites": lambda told, at: told.with_line(at, sites=[]),
    "an event of nothing": lambda told, at: told.with_word(at, "north", event={}),
    "an event beyond numbers": lambda told, at: told.with_word(at, "north", event=noisy("1e-320")),
    "an event that is no number": lambda told, at: told.with_word(at, "north", event=noisy("nan")),
    "a head that is no base64": lambda told, at: told.with_word(at, "north", head="\u2028"),
    "members that are none": lambda told, at: told.with_line(at, secure_sum={"members": [[]]}),
}


@pytest.mark.parametrize("what", LIES)
def test_lines_that_say_nonsense_under_a_good_signature_end_no_command(what: str, tmp_path: Path) -> None:
    bundle = LIES[what](record(), record().at("round")).hand_over(tmp_path / "bundle")
    codes = judged_by_all(bundle, tmp_path / "page.html")
    assert codes["verify"] == codes["report"] == REFUTED
    assert {codes["epsilon"], codes["json"]} <= {0, REFUTED}


def test_bytes_changed_anywhere_end_no_command(tmp_path: Path) -> None:
    dice = random.Random(7)  # noqa: S311
    for number in range(12):
        bundle = record().hand_over(tmp_path / str(number))
        name = dice.choice([LOG, "study.toml", "checkpoints.jsonl", "results.json", "manifest.json"])
        data = bytearray((bundle / name).read_bytes())
        for _ in range(dice.randrange(1, 20)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        (bundle / name).write_bytes(data)
        assert set(judged_by_all(bundle, tmp_path / "page.html").values()) <= {0, REFUTED}


def test_a_page_whose_epsilon_cannot_be_recomputed_says_so(tmp_path: Path) -> None:
    case, findings = verify((record().hand_over(tmp_path / "bundle"),))
    assert case is not None
    facts = {"sources": "bundle", "keys": "none", "date": "2026-11-27", "version": "0"}
    text = render(replace(case, rosters={}), findings, facts)
    assert "Epsilon cannot be recomputed: what could not be read: ValueError" in text


def test_a_ledger_with_bytes_changed_anywhere_is_an_error_in_words(tmp_path: Path) -> None:
    dice, ledger, key = random.Random(7), tmp_path / "ledger.jsonl", tmp_path / "north.pem"  # noqa: S311
    key.write_bytes(record().keys["north"].public.pem())
    for _ in range(20):
        data = bytearray(record().files[ledger_of("north")])
        for _ in range(dice.randrange(1, 20)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        ledger.write_bytes(data)
        assert main(["audit", "epsilon", str(ledger), "--keys", str(key)]) in (6, 9)
