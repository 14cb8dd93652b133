"""The page for a data protection officer, the claim in words, and the commands that give them."""

import json
import re
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from tempfile import mkdtemp

import pytest
from tests.auditing import NAMES, Record, finished, ledger_of
from tests.studies import joint_protocol, private_protocol

from wardround.cli import main
from wardround.common.audit.claim import assumptions, promised
from wardround.common.audit.page import render
from wardround.common.audit.verdicts import Finding, refuted
from wardround.common.audit.verify import verify
from wardround.common.privacy.accounting import epsilon
from wardround.common.privacy.events import JointGaussianSteps

VOID = {"meta", "br", "hr", "img", "link", "input"}
FACTS = {"sources": "bundle", "keys": "none", "date": "2026-11-27", "version": "0"}


@cache
def record() -> Record:
    """An honest record, made once per process."""
    return finished(Path(mkdtemp(prefix="audit-page-")), joint_protocol(rounds=2))


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return record().hand_over(tmp_path / "bundle")


class Page(HTMLParser):
    """Open tags, text, identifiers and addresses of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.labels: list[str] = []
        self.addresses: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name == "aria-labelledby":
                self.labels.append(value or "")
            if name in ("src", "href", "action"):
                self.addresses.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_is_whole_loads_nothing_runs_nothing_and_names_its_sections(
    bundle: Path, tmp_path: Path
) -> None:
    out = tmp_path / "report.html"
    assert main(["audit", "report", str(bundle), "--out", str(out)]) == 0
    html = out.read_text(encoding="utf-8")
    page = Page(html)
    assert page.open == []
    assert page.addresses == []
    assert not {"script", "img", "iframe", "link", "form"} & set(page.tags)
    assert set(page.labels) <= set(page.ids)
    assert "default-src 'none'" in html
    assert '<html lang="en">' in html
    assert "prefers-color-scheme: dark" in html
    assert "@media print" in html
    assert "$" not in re.sub(r"<style>.*?</style>", "", html, flags=re.S)


def test_the_page_says_what_was_promised_checked_attested_and_not_checkable(bundle: Path) -> None:
    case, findings = verify((bundle,))
    text = " ".join(Page(render(case, findings, FACTS)).text.split())
    for words in (
        "What was promised",
        "one patient, with all rows and samples at that hospital",
        "No claim was refuted",
        "What rests on the word of the hospitals",
        "caps are private",
        "At least 2 hospitals of each sum",
    ):
        assert words in text
    for one in findings:
        assert " ".join(one.claim.split()) in text


def test_a_refuted_claim_stands_on_top_in_words(bundle: Path) -> None:
    case, findings = verify((bundle,))
    html = render(case, [*findings, refuted("a sum is right", expected="1", found="2")], FACTS)
    assert "1 claim was refuted" in html
    assert html.index("1 claim was refuted") < html.index("What was promised")


def test_a_log_that_cannot_be_relied_on_still_gives_a_page() -> None:
    page = Page(render(None, [refuted("the log is signed", expected="so", found="not so")], FACTS))
    assert "cannot be relied on" in page.text


def test_what_a_hostile_bundle_says_is_shown_as_text(bundle: Path) -> None:
    case, _ = verify((bundle,))
    evil = Finding(claim="<script>alert(1)</script>", verdict="confirmed", found='"><img src=x>', where="<b>")
    page = Page(render(case, [evil], {**FACTS, "keys": "<i>$style"}))
    assert not {"script", "img", "b", "i"} & set(page.tags)
    assert "<script>alert(1)</script>" in page.text
    assert "<i>$style" in page.text


def test_the_command_states_every_coalitions_epsilon_with_its_unit_and_assumptions(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", "epsilon", str(bundle), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["epsilon"]) == len(NAMES) * 4
    event = JointGaussianSteps(noise_multiplier=2.0, honest=2, coordinates=1, steps=2)
    expected = {left: epsilon([event.with_honest(left)], 1e-5) for left in (3, 2, 1)}
    by_words = {row["against"]: row["added"] for row in found["epsilon"] if row["site"] == "north"}
    assert by_words["the coordinator and outsiders"] == pytest.approx(expected[3], abs=2e-4)
    assert by_words["the coordinator and all other hospitals together"] == pytest.approx(
        expected[1], abs=2e-4
    )
    assert found["promised"]["privacy unit"].startswith("one patient")
    assert found["assumptions"] == list(assumptions(record().protocol))
    assert main(["audit", "epsilon", str(bundle)]) == 0
    text = capsys.readouterr().out
    assert "It holds if" in text
    assert "2 releases, 2 receipts" in text


def test_without_ledgers_the_most_that_a_site_may_have_spent_stands_beside_it(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", "epsilon", str(bundle)]) == 0
    assert "left out" not in capsys.readouterr().out
    own, told = ("ledgers/", "witness/"), record()
    kept = {name: data for name, data in told.files.items() if not name.startswith(own)}
    alone = replace(told, files=kept).hand_over(tmp_path / "alone")
    assert main(["audit", "epsilon", str(alone), "--json"]) == 0
    for row in json.loads(capsys.readouterr().out)["epsilon"]:
        assert row["most_releases"] == 2 + told.protocol.federation.attempts - 1
        assert row["most"] > row["added"]
    assert main(["audit", "epsilon", str(alone)]) == 0
    assert "up to" in capsys.readouterr().out
    case, findings = verify((alone,))
    assert "if the log left out attempts (3 releases)" in Page(render(case, findings, FACTS)).text


def test_a_ledgers_lifetime_needs_the_hospitals_own_key(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger, key = bundle / ledger_of("north"), tmp_path / "north.pem"
    assert main(["audit", "epsilon", str(ledger)]) == 6
    assert "--keys" in capsys.readouterr().err
    key.write_bytes(record().keys["north"].public.pem())
    assert main(["audit", "epsilon", str(ledger), "--keys", str(key), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["site"] == "north"
    assert found["releases"] == {"small": 2}
    assert found["epsilon"]["everyone-else"]["add-or-remove"] > found["epsilon"]["tolerated"]["add-or-remove"]


def test_the_words_fit_the_mechanism() -> None:
    site = private_protocol()
    assert dict(promised(site))["mechanism"].endswith("(local to the hospital)")
    assert next(assumptions(site)).startswith("Nothing: neither the coordinator")
    assert dict(promised(record().protocol))["mechanism"].endswith("(distributed)")
