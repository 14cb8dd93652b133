"""Writing a site's first `site.toml`, with a comment for every limit, and its identity key."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from wardround.client.policy import FORMAT, VERSION, CohortKind, SitePolicy
from wardround.common.durable import write_atomic
from wardround.common.errors import UsageError
from wardround.common.trust.identity import SigningKey, check_name

FILE: Final = "site.toml"

_TEMPLATE: Final = """\
# The policy of {site}: private, it never leaves this computer. It can only tighten what a study asks.
format = "{format}"
version = {version}

site = {site}
table = {table}  # the patients: CSV, TSV or Parquet, relative to this file
cohort = {cohort}  # "private"; "public" or "synthetic" only if anybody may read the table

# One account of privacy loss for all patients of this pool, for its lifetime and over all studies.
pool = {pool}
epsilon_cap = {epsilon_cap}
delta = {delta}
# epsilon_cap_alone = 10.0    # under joint noise: the cap if all other hospitals collude with the coordinator
# epsilon_cap_held_out = 3.0  # the cap of patients who are kept out of training and evaluate; absent: epsilon_cap
# tolerated_collusion = 1     # members of a secure sum that may collude; larger is stricter
# key_agreement = "any"       # of a secure sum, without ML-KEM-768 too; absent: "hybrid", against future computers

smallest_cohort = {smallest_cohort}  # with fewer patients this site does not take part
mechanisms = {mechanisms}  # privacy mechanisms that this site allows
# purposes = ["research on breast cancer"]  # what the patients consented to; absent: any purpose

# ledger = "ledger"          # the folder of the account
# head = "/var/lib/..."      # its witness, outside this folder and not in the same backup
# identity = "identity.pem"  # the site's private key

# The study's column name on the left, your own on the right.
[columns]
# age = "AGE_AT_DIAGNOSIS"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstPolicy:
    """What a first policy needs to be told.

    Attributes:
        site: Name of the site.
        table: Its table.
        cohort: `private`, `public` or `synthetic`.
        epsilon_cap: Lifetime epsilon of the patient pool.
        delta: Lifetime delta.
        smallest_cohort: Fewest patients with which the site takes part.
    """

    site: str
    table: Path
    cohort: CohortKind = "private"
    epsilon_cap: float = 3.0
    delta: float = 1e-5
    smallest_cohort: int = 20

    def text(self, folder: Path) -> str:
        """The content of `site.toml` in `folder`."""
        mechanisms = ["site-noise", "joint-noise", *(["none"] if self.cohort != "private" else [])]
        table = os.path.relpath(self.table.absolute(), folder.absolute())
        return _TEMPLATE.format(
            format=FORMAT,
            version=VERSION,
            site=_toml(self.site),
            table=_toml(table),
            cohort=_toml(self.cohort),
            pool=_toml(f"{self.site} patients"),
            epsilon_cap=repr(float(self.epsilon_cap)),
            delta=repr(float(self.delta)),
            smallest_cohort=self.smallest_cohort,
            mechanisms=_toml(mechanisms),
        )


def create_site(folder: Path, first: FirstPolicy, *, passphrase: str = "") -> tuple[SitePolicy, str]:
    """Write `site.toml` and a new identity key.

    Args:
        folder: The site's folder; created if absent, readable by its owner only.
        first: The site's terms.
        passphrase: Encrypts the key; empty for none. A key that is there already keeps its own.

    Returns:
        The policy as it reads back, and the fingerprint of the key, for the roster.

    Raises:
        UsageError: There is a policy already, or the name cannot be used.
        ProtocolError: A limit is out of range; nothing was written.
        StorageError: The disk is full or the folder cannot be written.
    """
    check_name(first.site)
    path = folder / FILE
    if path.exists():
        raise UsageError(f"{path} exists already", advice="edit it, or choose another folder")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_atomic(path, first.text(folder).encode(), mode=0o600)
    try:
        policy = SitePolicy.load(path)
        if not policy.identity.exists():
            key = SigningKey.generate()
            key.save(policy.identity, passphrase=passphrase)
            return policy, key.public.fingerprint
        return policy, SigningKey.load(policy.identity).public.fingerprint
    except Exception:
        path.unlink()
        raise


def _toml(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
