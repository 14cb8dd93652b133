"""A weighted group that no patient has: most often a spelling, and then the weight would quietly do nothing."""

from wardround.client.findings import Finding
from wardround.client.prepared import PreparedTable


def group_findings(table: PreparedTable) -> list[Finding]:
    """Warnings about the groups of `[fairness]`; the site's own screen only."""
    terms = table.protocol.fairness
    if not terms.groups or terms.group_column not in table.frame.columns:
        return []
    found = set(table.cells(terms.group_column).dropna().astype(str))
    return [
        Finding(
            code="group-not-found",
            message=f"a weight is declared for group {group!r}, which no patient here has",
            severity="warn",
            column=terms.group_column,
            advice="compare the spelling with the table; a group that is truly absent here does no harm",
        )
        for group in terms.groups
        if group not in found
    ]
