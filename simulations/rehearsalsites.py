"""The hospitals of a rehearsal: folders of their own below the run, copied from a table or from real folders.

A rehearsal never touches a real hospital's folder: the copies have keys and a ledger of their own, which are thrown
away with the run. So what a rehearsal releases is counted nowhere, and must stay where the patients' data may be.
"""

import json
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from wardround.client.cohort import verbatim_columns
from wardround.client.heldout import SPLIT_KEY, own_split_key
from wardround.client.joining import make_request
from wardround.client.policy import SitePolicy
from wardround.client.sitefile import FILE
from wardround.client.sites import site_of_rows
from wardround.client.tables import read_table
from wardround.common.durable import write_atomic
from wardround.common.errors import UsageError
from wardround.common.study.protocol import StudyProtocol
from wardround.common.trust.identity import SigningKey
from wardround.simulations.hospitals import Consortium, Hospital, Imagined, imagine, split_key
from wardround.simulations.planning import FEWEST_SITES
from wardround.simulations.splitting import TABLE

_USUAL: Final = 3
_OWN: Final = ("ledger", "head", "identity")
"""What a copy of a policy does not take over: a rehearsal has its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RehearsedSite:
    """One hospital of a rehearsal.

    Attributes:
        name: As in the roster.
        folder: Its own folder below the run.
        request: What it sends to the coordinator.
    """

    name: str
    folder: Path
    request: bytes


def largest(consortium: Consortium, asked: int) -> tuple[Hospital, ...]:
    """The largest hospitals of a consortium, sorted by name; `asked` many, or with 0 three if there are so many.

    Raises:
        UsageError: Fewer than two, or more than there are.
    """
    found = consortium.hospitals
    wanted = asked or max(FEWEST_SITES, min(_USUAL, len(found)))
    if not FEWEST_SITES <= wanted <= len(found):
        raise UsageError(
            f"expected --hospitals from {FEWEST_SITES} to {len(found)}, found {wanted} "
            f"({consortium.left_out} hospitals are below the study's minimum)",
            advice="each hospital is two processes of its own: two or three show whether a study runs",
        )
    chosen = sorted(found, key=lambda one: (-one.rows.n_patients, one.name))[:wanted]
    return tuple(sorted(chosen, key=lambda one: one.name))


def among(protocol: StudyProtocol, chosen: Sequence[Hospital]) -> StudyProtocol:
    """The study as these hospitals can rehearse it: without the others that it lists, and with no larger quorum.

    Everything else stays, above all its privacy.
    """
    names, terms = {one.name for one in chosen}, protocol.federation
    listed = tuple(site for site in terms.sites if site.name in names)
    fewer = replace(terms, sites=listed, quorum=min(terms.quorum, len(names)))
    return protocol if fewer == terms else replace(protocol, federation=fewer)


def furnish(
    protocol: StudyProtocol,
    consortium: Consortium,
    chosen: Sequence[Hospital],
    root: Path,
    *,
    site_column: str,
    seed: int,
) -> tuple[RehearsedSite, ...]:
    """Make the folder of each hospital: its table, policy, keys and join request.

    Args:
        protocol: The study.
        consortium: Where the hospitals were read from.
        chosen: Who takes part.
        root: Below which the folders stand.
        site_column: With hospitals of one table: the column that names them.
        seed: With hospitals of one table: of who is held out, as in a simulation with this seed.
    """
    if (how := consortium.imagined) is not None:
        _cut_table(protocol, chosen, how, root, site_column=site_column, seed=seed)
        folders = [root / one.folder.name for one in chosen]
    else:
        folders = [_copied(one, root) for one in chosen]
    return tuple(_with_keys(one.name, folder) for one, folder in zip(chosen, folders, strict=True))


def _with_keys(name: str, folder: Path) -> RehearsedSite:
    """As `site init` and `site request` do."""
    SigningKey.generate().save(folder / "identity.pem")
    return RehearsedSite(name=name, folder=folder, request=make_request(folder))


def _cut_table(
    protocol: StudyProtocol,
    chosen: Sequence[Hospital],
    how: Imagined,
    root: Path,
    *,
    site_column: str,
    seed: int,
) -> None:
    """Each hospital's rows into a file of its own, with a policy that allows what the researcher asks."""
    frame = read_table(how.table, verbatim=verbatim_columns(protocol, site_column))
    sites = site_of_rows(frame, site_column)
    for one in chosen:
        table = root / one.folder.name / TABLE
        folder = imagine(root, one.name, table=table, cohort=how.cohort, delta=how.delta)
        folder.chmod(0o700)
        text = frame[sites == one.name].to_csv(index=False, lineterminator="\n")
        write_atomic(table, text.encode(), mode=0o600)
        write_atomic(folder / SPLIT_KEY, split_key(seed, one.name), mode=0o600)


def _copied(hospital: Hospital, root: Path) -> Path:
    """A hospital's own policy, table and split in a new folder."""
    source, folder = hospital.folder, root / hospital.folder.name
    folder.mkdir(mode=0o700, parents=True)
    terms = tomllib.loads((source / FILE).read_text(encoding="utf-8"))
    table = SitePolicy.load(source / FILE).table.absolute()
    kept = {name: value for name, value in terms.items() if name not in _OWN}
    kept |= {"table": str(table), "head": str((root / "heads" / f"{folder.name}.json").absolute())}
    write_atomic(folder / FILE, _toml(kept).encode(), mode=0o600)
    write_atomic(folder / SPLIT_KEY, own_split_key(source), mode=0o600)
    return folder


def _toml(terms: dict[str, Any]) -> str:
    """A policy as text: plain values first, then its one table."""
    columns = terms.pop("columns", {})
    lines = [f"{name} = {_value(value)}" for name, value in terms.items()]
    lines += ["", "[columns]", *(f"{_value(name)} = {_value(own)}" for name, own in columns.items()), ""]
    return "\n".join(lines)


def _value(value: object) -> str:
    return repr(value) if isinstance(value, float) else json.dumps(value, ensure_ascii=False)
