"""The review of a study before a person approves it: what it asks, costs and sends, and what changed since last time.

Made from the coordinator's bundle, the site's own policy, ledger and table. It stays at the site: nothing here opens
a connection, and nothing is written but what opening a ledger writes.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from wardround.client.adversaries import Adversary, CapLeft, adversaries, caps_left
from wardround.client.approvals import Approval, last_approved, read_approval
from wardround.client.approving import check_roster, feature_path
from wardround.client.checkup import check
from wardround.client.cohort import verbatim_columns
from wardround.client.differences import Change, differences, roster_differences
from wardround.client.findings import CheckReport, summary
from wardround.client.joining import Pinned, known_roster
from wardround.client.leaving import Leaving, leaving
from wardround.client.monitored import check_untrained, unknown_training
from wardround.client.office import Office
from wardround.client.peers import approved_peers
from wardround.client.release import POOLS
from wardround.client.tables import read_table
from wardround.common.errors import CohortError, PolicyRefusal, TrustError, WardroundError
from wardround.common.study.bundle import Bundle, read_bundle
from wardround.common.study.parts import main_account, parts
from wardround.common.study.protocol import StudyProtocol
from wardround.common.trust.identity import PublicKey
from wardround.common.trust.ledger import Ledger
from wardround.common.trust.rosterfile import newest

Standing = Literal["this site", "approved", "not approved", "approved with another key"]
Status = Literal["new", "approved", "revoked", "finished"]

OLDER: Final = "revision {found} is older than revision {approved}, which was approved here last"


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One hospital of the roster.

    Attributes:
        name: Its name.
        key: Its identity.
        standing: Whether people of this site compared that key.
    """

    name: str
    key: PublicKey
    standing: Standing


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """Everything that a person should know before approving.

    Attributes:
        bundle: What the coordinator signed.
        before: The last approval of a study of this name; None if there was none.
        status: Of exactly this protocol at this site.
        changes: What differs from `before`, in the protocol.
        member_changes: What differs from `before`, in the roster.
        adversaries: Epsilon of the whole study against each.
        caps: Both lifetime caps, before and after.
        leaving: What leaves, message by message.
        members: The roster; `least` of them, approved here, must be in every secure sum (0 without one).
        findings: What the check-up found in the site's table; None where it could not be read.
        minimum: Fewest patients with which this site takes part.
        refusals: Why the study cannot be approved as it is.
        warnings: What a person should look at.
    """

    bundle: Bundle
    before: Approval | None
    status: Status
    changes: tuple[Change, ...]
    member_changes: tuple[Change, ...]
    adversaries: tuple[Adversary, ...]
    caps: tuple[CapLeft, ...]
    leaving: tuple[Leaving, ...]
    members: tuple[Member, ...]
    least: int
    findings: CheckReport | None = field(repr=False)
    minimum: int
    refusals: tuple[WardroundError, ...]
    warnings: tuple[str, ...]

    @property
    def protocol(self) -> StudyProtocol:
        """The study."""
        return self.bundle.protocol

    @property
    def allowed(self) -> bool:
        """Whether `approve` would accept the study now."""
        return not self.refusals


def review(site: Path, data: bytes) -> Review:
    """Review a bundle.

    Args:
        site: The site's folder.
        data: The bundle.

    Raises:
        TrustError: It was not signed by the pinned coordinator, or is damaged.
        ProtocolError: Its protocol is not acceptable to this release.
        UsageError: This site has not joined a consortium.
    """
    office, pinned = Office.load(site), Pinned.load(site)
    bundle = read_bundle(data, pinned.coordinator_key)
    before = last_approved(site, bundle.protocol.study.name)
    refusals = _refusals(office, pinned, bundle)
    findings = _findings(office, bundle, refusals)
    status, caps, counts_trained, unknown = _account(office, bundle.protocol)
    refusals += counts_trained + _over(caps, office, bundle.protocol)
    if status == "finished":
        refusals.append(
            PolicyRefusal(
                "the study is finished at this site under this protocol",
                advice="to run it once more, on top of what it spent, approve it with --again",
            )
        )
    members = _members(office, bundle)
    least = office.desk(bundle.protocol).least if bundle.protocol.joint else 0
    return Review(
        bundle=bundle,
        before=before,
        status=status,
        changes=differences(before.protocol, bundle.protocol) if before else (),
        member_changes=roster_differences(before.roster, bundle.roster.roster) if before else (),
        adversaries=adversaries(bundle.protocol, tolerated=office.policy.tolerated_collusion),
        caps=caps,
        leaving=leaving(
            bundle.protocol,
            width=feature_path(bundle).width,
            roster=bundle.roster.roster,
            site=office.policy.site,
        ),
        members=members,
        least=least,
        findings=findings,
        minimum=office.policy.minimum_patients(bundle.protocol),
        refusals=tuple(refusals),
        warnings=(*_warnings(bundle, before, members, least), *unknown),
    )


def _refusals(office: Office, pinned: Pinned, bundle: Bundle) -> list[WardroundError]:
    """Why neither roster nor policy allow the study."""
    found: list[WardroundError] = []
    try:
        check_roster(bundle, office, pinned)
        newest(known_roster(office.folder), bundle.roster)
    except TrustError as error:
        found.append(error)
    try:
        office.policy.check(bundle.protocol)
    except PolicyRefusal as refusal:
        found.append(refusal)
    return found


def _findings(office: Office, bundle: Bundle, refusals: list[WardroundError]) -> CheckReport | None:
    """What the check-up says of the site's table; a table that does not fit is one more refusal."""
    protocol, policy = bundle.protocol, office.policy
    try:
        frame = read_table(policy.table, verbatim=verbatim_columns(protocol, columns=policy.columns))
        report = check(protocol, frame, minimum=policy.minimum_patients(protocol), columns=policy.columns)
    except WardroundError as error:  # no table, or a mapping of columns that does not fit it
        refusals.append(error)
        return None
    try:
        report.raise_if_refused(policy.site)
    except CohortError as error:
        refusals.append(error)
    return report


def _account(
    office: Office, protocol: StudyProtocol
) -> tuple[Status, tuple[CapLeft, ...], list[WardroundError], list[str]]:
    """Where this protocol stands at this site, what it leaves of the caps, whom it must not count, what to ask."""
    key, site = (protocol.study.name, protocol.digest), office.policy.site
    approval = read_approval(office.folder, protocol.digest, office.key.public)
    with office.ledger() as ledger:
        finished = main_account(protocol, site, ledger).has_finished(*key)
        asked = [part for part in parts(protocol, site) if not part.account(ledger).has_open(*key)]
        caps = caps_left(office.policy, ledger.charges(), asked=asked)
        refused, unknown = _counting(protocol, site, ledger), unknown_training(protocol, ledger)
    if approval is not None and approval.state == "revoked":
        return "revoked", caps, refused, unknown
    if finished:
        return "finished", caps, refused, unknown
    return ("new" if approval is None else "approved"), caps, refused, unknown


def _counting(protocol: StudyProtocol, site: str, ledger: Ledger) -> list[WardroundError]:
    try:
        check_untrained(protocol, site, ledger)
    except PolicyRefusal as refusal:
        return [refusal]
    return []


def _over(caps: tuple[CapLeft, ...], office: Office, protocol: StudyProtocol) -> list[WardroundError]:
    if office.policy.cohort != "private":
        return []
    return [
        PolicyRefusal(
            f"study {protocol.study.name} could take {POOLS[each.pool]} to epsilon {each.after:g}; "
            f"the lifetime cap is {each.cap:g}",
            advice="ask for fewer rounds or attempts or more noise; only the site itself can raise its cap",
        )
        for each in caps
        if not each.allows
    ]


def _members(office: Office, bundle: Bundle) -> tuple[Member, ...]:
    peers, own = approved_peers(office.folder), office.policy.site

    def standing(name: str, key: PublicKey) -> Standing:
        if name == own:
            return "this site"
        if name not in peers:
            return "not approved"
        return "approved" if peers[name] == key else "approved with another key"

    sites = bundle.roster.roster.sites
    return tuple(Member(name=name, key=key, standing=standing(name, key)) for name, key in sites.items())


def _warnings(bundle: Bundle, before: Approval | None, members: tuple[Member, ...], least: int) -> list[str]:
    found = []
    if before is not None and bundle.revision < before.revision:
        found.append(OLDER.format(found=bundle.revision, approved=before.revision))
    if before is not None and before.protocol.digest != bundle.protocol.digest and before.state == "approved":
        found.append(
            "the version that was approved before stays approved beside this one, with its reservation: "
            f"`wardround site revoke DIR {before.protocol.digest[:16]}` withdraws it"
        )
    if bundle.protocol.drafted:
        found.append(
            "some constants were drafted from a study's own table: results with them are not private"
        )
    if not bundle.protocol.private:
        found.append("mechanism 'none': what leaves has no privacy protection at all")
    counted = sum(member.standing in ("this site", "approved") for member in members)
    if least and counted < least:
        found.append(
            f"a secure sum needs {least} members that this site approved, itself included, and {counted} of this "
            "roster are: until more are, this site declines every round (`wardround site peers approve`)"
        )
    return found


def finding_lines(report: CheckReport | None) -> list[str]:
    """The findings in lines, refusing ones first."""
    return [] if report is None else [*summary(report.refusals), *summary(report.warnings)]
