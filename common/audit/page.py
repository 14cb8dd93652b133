"""One page for a data protection officer: what was claimed, what was checked, what cannot be checked, in plain words.

Self-contained: no script, nothing loaded, readable in the dark and on paper. Whatever comes from the bundle is escaped.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from importlib.metadata import version
from pathlib import Path
from string import Template
from typing import Final

from wardround.common.audit.case import Case
from wardround.common.audit.claim import NOT_COVERED, assumptions, epsilon_rows, promised
from wardround.common.audit.verdicts import Finding, Verdict, counts
from wardround.common.audit.verify import UNREADABLE, verify, words_of
from wardround.common.page import STYLE

_TEMPLATE: Final = Path(__file__).with_name("page_template.html")


def page_of(folders: tuple[Path, ...], keys: tuple[Path, ...] = ()) -> tuple[str, list[Finding]]:
    """Judge bundles and write the page.

    Args:
        folders: As for `verify`.
        keys: The auditor's own.

    Returns:
        HTML, and the findings on it.

    Raises:
        StorageError, TrustError, UsageError: As `verify`.
    """
    case, findings = verify(folders, keys)
    facts = {
        "sources": ", ".join(folder.name for folder in folders),
        "keys": (case.keys.source if case else "") or "none of the auditor's own",
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "version": version("wardround"),
    }
    return render(case, findings, facts), findings


def render(case: Case | None, findings: Sequence[Finding], facts: dict[str, str]) -> str:
    """The page.

    Args:
        case: The study; None where its log cannot be relied on.
        findings: All of them.
        facts: `sources`, `keys`, `date` and `version`.
    """
    words = {name: escape(text) for name, text in {**facts, **_about(case), **_verdict(findings)}.items()}
    sections = {
        "promised": _terms(promised(case.protocol)) if case else _terms([("study", "not known")]),
        "epsilons": _epsilons(case) if case else "",
        "checked": _table(findings, "refuted", "confirmed"),
        "attested": _table(findings, "attested by the site"),
        "unchecked": _table(findings, "not checkable"),
        "assumptions": _items(assumptions(case.protocol)) if case else "",
        "uncovered": _items(NOT_COVERED),
        "style": STYLE.read_text(encoding="utf-8"),
    }
    return Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(words | sections)


def _about(case: Case | None) -> dict[str, str]:
    if case is None:
        unknown = "The log of this study cannot be relied on"
        return {"title": unknown, "study": "unknown", "question": unknown, "protocol": "unknown"}
    study = case.protocol.study
    return {
        "title": f"Privacy audit: {study.name}",
        "study": study.name,
        "question": study.question,
        "protocol": case.protocol.digest,
    }


def _verdict(findings: Sequence[Finding]) -> dict[str, str]:
    number = counts(findings)
    refuted = number["refuted"]
    summary = ", ".join(f"{count} {verdict}" for verdict, count in number.items()) + "."
    if not refuted:
        return {"tone": "private", "headline": "No claim was refuted", "summary": summary}
    headline = "1 claim was refuted" if refuted == 1 else f"{refuted} claims were refuted"
    return {"tone": "warning", "headline": headline, "summary": summary}


def _terms(pairs: Iterable[tuple[str, str]]) -> str:
    return "\n".join(f"<dt>{escape(name)}</dt><dd>{escape(words)}</dd>" for name, words in pairs)


def _items(lines: Iterable[str]) -> str:
    return "\n".join(f"<li>{escape(line)}</li>" for line in lines)


def _epsilons(case: Case) -> str:
    try:
        rows = epsilon_rows(case)
    except UNREADABLE as error:
        return f"<p>{escape(f'Epsilon cannot be recomputed: {words_of(error)}')}</p>"
    lines = [
        f'<tr><th scope="row">{escape(row.site)}</th><td class="words">{escape(row.patients)}</td>'
        f'<td class="words">{escape(row.against)}</td>'
        f"<td>{row.releases}</td><td>{row.added:.3f}</td><td>{row.replaced:.3f}</td>"
        f'<td class="words">{escape(row.beyond)}</td></tr>'
        for row in rows
    ]
    head = _head(
        ["Hospital", "Patients", "Against", "Releases", "Epsilon", "Replace one", "Beyond the log"], words=3
    )
    caption = f"Epsilon per patient at delta {case.protocol.privacy.delta:g}, recomputed for this page"
    return _scroll("Epsilon by hospital", f"<caption>{escape(caption)}</caption>{head}", lines)


def _table(findings: Sequence[Finding], *verdicts: Verdict) -> str:
    chosen = [one for verdict in verdicts for one in findings if one.verdict == verdict]
    if not chosen:
        return "<p>Nothing.</p>"
    lines = [
        f'<tr class="{one.verdict.split()[0]}"><th scope="row">{escape(one.claim)}</th>'
        f'<td class="words verdict">{escape(one.verdict)}</td><td class="words">{_found(one)}</td>'
        f'<td class="words">{escape(one.where)}</td></tr>'
        for one in chosen
    ]
    head = _head(["Claim", "Verdict", "Found", "Where"], words=4)
    return _scroll(", ".join(verdicts), head, lines)


def _found(one: Finding) -> str:
    if one.verdict != "refuted":
        return escape(one.found)
    return (
        f"expected {escape(one.expected)}; found {escape(one.found)} <small>({escape(one.severity)})</small>"
    )


def _head(names: Sequence[str], *, words: int) -> str:
    cells = [
        f'<th scope="col"{" class=words" if place < words else ""}>{escape(name)}</th>'
        for place, name in enumerate(names)
    ]
    return f"<thead><tr>{''.join(cells)}</tr></thead>"


def _scroll(label: str, head: str, lines: Sequence[str]) -> str:
    body = "\n".join(lines)
    kind = "findings" if "<caption>" not in head else "numbers"
    opening = f'<div class="scroll {kind}" role="region" aria-label="{escape(label)}" tabindex="0">'
    return f"{opening}<table>{head}<tbody>\n{body}\n</tbody></table></div>"
