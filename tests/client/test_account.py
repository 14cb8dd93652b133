"""A pool's two accounts: what is spent if others are honest, what if they are not, and which cap limits which."""

import io
import math
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from wardround.client.account import PoolAccount, read_account
from wardround.client.checkprint import print_account
from wardround.client.policy import SitePolicy
from wardround.client.sitefile import FirstPolicy, create_site
from wardround.common.privacy.accounting import second_opinion
from wardround.common.privacy.events import DpEvent, GaussianSteps, JointGaussianSteps
from wardround.common.privacy.terms import LARGEST_SUM
from wardround.common.trust.identity import SigningKey
from wardround.common.trust.ledger import Ledger

JOINT = JointGaussianSteps(noise_multiplier=10.0, honest=4, coordinates=LARGEST_SUM, steps=1)
OWN = GaussianSteps(noise_multiplier=10.0, sample_rate=1.0, steps=1)
HALF = GaussianSteps(noise_multiplier=5.0, sample_rate=1.0, steps=1)
"""What is left of `JOINT` if three of the four do not count: a quarter of the variance."""


def charged(tmp_path: Path, *events: DpEvent, more: str = "") -> PoolAccount:
    """The account of a site whose studies reserved eight releases each and spent six."""
    folder = tmp_path / "site"
    policy, _ = create_site(folder, FirstPolicy(site="north", table=tmp_path / "t.csv", epsilon_cap=3.0))
    path = folder / "site.toml"
    path.write_text(path.read_text().replace("smallest_cohort", f"{more}\nsmallest_cohort", 1))
    policy = SitePolicy.load(path)
    with Ledger.open(
        policy.ledger, SigningKey.load(policy.identity), policy.head, pool=policy.pool
    ) as ledger:
        for number, event in enumerate(events):
            name = f"study-{number}"
            ledger.reserve(name, "a" * 64, event, 8)
            for round_ in range(1, 7):
                ledger.spend(name, "a" * 64, round_, 1, "b" * 64)
    return read_account(policy)


def printed(account: PoolAccount) -> str:
    out = io.StringIO()
    print_account(account, Console(file=out, width=100, highlight=False))
    return out.getvalue()


def test_joint_noise_is_counted_in_both_accounts_own_noise_alike(tmp_path: Path) -> None:
    account = charged(tmp_path, JOINT, OWN)
    known = {"tolerated": [OWN, OWN], "everyone-else": [HALF, OWN]}
    for against, pair in known.items():
        found = account.accounts[against]  # type: ignore[index]
        assert found.spent == pytest.approx(second_opinion(pair * 6, 1e-5), abs=2e-3)
        assert found.exposure == pytest.approx(second_opinion(pair * 8, 1e-5), abs=2e-3)
    joint, own = account.studies
    assert joint.epsilon["everyone-else"] == pytest.approx(second_opinion([HALF] * 6, 1e-5), abs=2e-3)
    assert joint.epsilon["tolerated"] < joint.epsilon["everyone-else"]
    assert own.epsilon["tolerated"] == own.epsilon["everyone-else"]


def test_each_cap_limits_its_own_account(tmp_path: Path) -> None:
    account = charged(tmp_path, JOINT, more="epsilon_cap_alone = 7.5")
    first, alone = account.accounts["tolerated"], account.accounts["everyone-else"]
    assert (first.cap, alone.cap) == (3.0, 7.5)
    assert first.remaining == pytest.approx(3.0 - first.exposure)
    assert alone.remaining == pytest.approx(7.5 - alone.exposure)
    honest, collude = printed(account).split("If all others collude")
    assert f"lifetime cap (epsilon_cap): epsilon 3.0000; left: {first.remaining:.4f}" in honest
    assert f"lifetime cap (epsilon_cap_alone): epsilon 7.5000; left: {alone.remaining:.4f}" in collude
    assert f"epsilon {first.exposure:.4f}" in honest
    assert f"epsilon {alone.exposure:.4f}" in collude


def test_without_a_cap_of_its_own_the_second_account_is_still_shown(tmp_path: Path) -> None:
    text = printed(charged(tmp_path, JOINT))
    assert "lifetime cap (epsilon_cap_alone): none" in text
    assert "inf" not in text
    assert "if all others collude" in text.splitlines()[1]


def test_a_pool_of_own_noise_only_has_one_account_to_read(tmp_path: Path) -> None:
    text = printed(charged(tmp_path, OWN))
    assert "collude" not in text
    assert "lifetime cap (epsilon_cap): epsilon 3.0000" in text


def test_the_json_form_holds_both_and_null_for_no_cap(tmp_path: Path) -> None:
    account = charged(tmp_path, JOINT)
    found = account.as_dict()
    alone = account.accounts["everyone-else"]
    assert found["everyone_else"] == {
        "cap": None,
        "spent": alone.spent,
        "exposure": alone.exposure,
        "remaining": None,
    }
    assert found["spent"] == account.accounts["tolerated"].spent
    studies = found["studies"]
    assert isinstance(studies, list)
    assert [study["epsilon_everyone_else"] for study in studies] == [alone.spent]


def test_nothing_is_left_once_a_guarantee_is_lost() -> None:
    from wardround.client.account import Account

    lost = Account(cap=3.0, spent=math.inf, exposure=math.inf)
    assert lost.remaining == 0.0
    assert replace(lost, cap=math.inf).as_dict() == {
        "cap": None,
        "spent": None,
        "exposure": None,
        "remaining": 0.0,
    }
