"""The approvals of a study's sites on their way into its log: each heard, compared, and written as it came, once.

What a site sends stays in the log for ever and is judged by auditors, so nothing is written that an auditor would have
to refute. An approval of another list of members than the log's is written together with that list, which only its
own coordinator can have published: a site may have approved before a member came or went.
"""

from base64 import b64decode
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from wardround.common.errors import TrustError, WardroundError
from wardround.common.study.protocol import StudyProtocol
from wardround.common.trust.approved import ApprovedTerms
from wardround.common.trust.identity import Roster
from wardround.common.trust.signed import text_of
from wardround.common.trust.statement import APPROVAL
from wardround.common.trust.studylog import StudyLog
from wardround.server.admission import check_approval

MOST: Final = 64
"""Approvals of one site in a log: more than anybody installs releases or renews lists in a study."""

Lists = Callable[[], Iterable[Roster]]


class Approvals:
    """What was approved so far.

    Args:
        log: Where approvals stand.
        protocol: The study.
        roster: The members whom the study runs with.
        lists: All lists of members that this coordinator published; asked when a site approved another one.
    """

    def __init__(self, log: StudyLog, *, protocol: StudyProtocol, roster: Roster, lists: Lists) -> None:
        self._log = log
        self._protocol = protocol
        self._roster = roster
        self._lists = lists
        self._heard: dict[str, Mapping[str, object]] = {}  # site -> line that is not yet in the log
        self._kept: dict[str, dict[str, ApprovedTerms]] = {site: {} for site in roster.sites}
        for line in log.of_kind(APPROVAL):
            self._remember(str(line.get("site")), str(line.get("statement")))

    def hear(self, site: str, statement: bytes) -> None:
        """Take an approval in, to be kept.

        Raises:
            TrustError: It is not this site's approval of this study, or contradicts one that the log holds.
            StorageError: From a newer release.
        """
        text = text_of(statement)
        if text in self._kept[site]:
            return
        found = check_approval(statement, site, self._roster, self._protocol)
        self._check_new(found)
        line: dict[str, object] = {"site": site, "statement": text}
        if found.roster != self._roster.digest:
            line["roster"] = self._list_of(found).to_dict()
        self._heard[site] = line

    def keep(self) -> None:
        """Write what was heard into the log, in the order of the roster."""
        heard, self._heard = self._heard, {}
        self._log.append_new(APPROVAL, (heard[site] for site in self._roster.sites if site in heard))
        for site, line in heard.items():
            self._remember(site, str(line["statement"]))

    def _remember(self, site: str, text: str) -> None:
        """An approval in the log; one that an older roster held under another key is nobody's here."""
        try:
            found = check_approval(b64decode(text), site, self._roster, self._protocol)
        except (WardroundError, ValueError):
            return
        self._kept[site][text] = found

    def _check_new(self, found: ApprovedTerms) -> None:
        kept = self._kept[found.site].values()
        if len(kept) >= MOST:
            raise TrustError(f"expected at most {MOST} approvals of {found.site!r}, found one more")
        for one in kept:
            if one.ledger[0] == found.ledger[0] and (one.ledger, one.time) != (found.ledger, found.time):
                raise TrustError(
                    f"{found.site!r} approved on another entry {found.ledger[0]} of its ledger before",
                    advice="its ledger was rewritten or restored from an old copy: let its people look",
                )

    def _list_of(self, found: ApprovedTerms) -> Roster:
        for one in self._lists():
            if one.digest == found.roster:
                return one
        raise TrustError(
            f"{found.site!r} approved list {found.roster[:16]} of the members, which this coordinator never published"
        )
