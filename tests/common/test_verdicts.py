"""Verdicts: four kinds that are never blurred, and an exit code."""

import json

from wardround.common.audit.verdicts import (
    REFUTED,
    VERDICTS,
    as_json,
    as_text,
    attested,
    confirmed,
    counts,
    exit_code,
    not_checkable,
    refuted,
)

EACH = (
    confirmed("the sum is right", found="3 rounds"),
    refuted("the noise is as agreed", expected="z = 6", found="z = 5", where="line 7"),
    attested("noise was added", where="north"),
    not_checkable("the cap was kept", why="caps are private"),
)


def test_only_a_refuted_claim_makes_the_exit_code_fail() -> None:
    assert exit_code([one for one in EACH if one.verdict != "refuted"]) == 0
    assert exit_code(EACH) == exit_code(EACH[1:2]) == REFUTED == 10
    assert exit_code([]) == 0


def test_the_text_shows_refuted_claims_first_and_counts_every_kind() -> None:
    lines = as_text(EACH).splitlines()
    assert lines[0].startswith("REFUTED ")
    assert "(line 7)" in lines[0]
    assert lines[1].strip() == "expected z = 6; found z = 5 [critical]"
    assert [line.split("  ")[0] for line in lines if not line.startswith(" ")][1:-1] == [
        "confirmed",
        "attested by the site",
        "not checkable",
    ]
    assert lines[-1] == "1 confirmed, 1 refuted, 1 attested by the site, 1 not checkable"
    assert counts(EACH) == dict.fromkeys(VERDICTS, 1)


def test_the_json_holds_every_field_of_every_finding_under_a_format_and_a_version() -> None:
    found = json.loads(as_json(EACH, study="responders"))
    assert (found["format"], found["version"]) == ("wardround-audit-findings", 1)
    assert found["study"] == "responders"
    assert [one["verdict"] for one in found["findings"]] == [one.verdict for one in EACH]
    assert found["findings"][1] == {
        "claim": "the noise is as agreed",
        "verdict": "refuted",
        "expected": "z = 6",
        "found": "z = 5",
        "where": "line 7",
        "severity": "critical",
    }


def test_a_hostile_text_can_neither_paint_the_terminal_nor_fill_it() -> None:
    evil = refuted("a\x1b[2Jb", expected="x" * 10_000, found="1\n2\u202e3")
    text = as_text([evil])
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert max(map(len, text.splitlines())) < 700
    assert len(text.splitlines()) == 3
