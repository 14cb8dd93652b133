"""A site's policy: it can only tighten, refuses what it does not know, and never travels."""

import copy
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from tests.hospital import study
from tests.studies import joint_protocol

from wardround.client.policy import SitePolicy
from wardround.common.errors import PolicyRefusal, ProtocolError, StorageError
from wardround.common.privacy.terms import PrivacyTerms
from wardround.common.study.writer import dumps
from wardround.common.trust.agreement import HYBRID, SUITES

MINIMAL = """\
format = "wardround-site"
version = 1
site = "north"
table = "data/patients.csv"
cohort = "private"
pool = "north patients"
epsilon_cap = 3
delta = 1e-5
smallest_cohort = 30
mechanisms = ["site-noise"]
"""
NOISE = PrivacyTerms(mechanism="site-noise", noise_multiplier=10.0)


def policy(folder: Path, text: str = MINIMAL) -> SitePolicy:
    path = folder / "site.toml"
    path.write_text(text, encoding="utf-8")
    return SitePolicy.load(path)


def test_a_policy_reads_back_with_paths_beside_it(tmp_path: Path) -> None:
    own = policy(tmp_path, MINIMAL + '[columns]\nage = "AGE_AT_DX"\n')
    assert own.site == "north"
    assert own.table == tmp_path / "data" / "patients.csv"
    assert own.ledger == tmp_path / "ledger"
    assert own.identity == tmp_path / "identity.pem"
    assert dict(own.columns) == {"age": "AGE_AT_DX"}
    assert (own.epsilon_cap, own.delta, own.purposes) == (3.0, 1e-5, ())


def test_the_ledger_s_witness_stands_outside_the_site_s_folder_and_apart_for_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    heads = set()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        head = policy(tmp_path / name).head
        assert head.parent == tmp_path / "state" / "wardround" / "heads"
        assert head.name.startswith("north-patients-")
        heads.add(head)
    assert len(heads) == 2
    own = policy(tmp_path / "one", MINIMAL + 'head = "/var/lib/witness.json"\n')
    assert own.head == Path("/var/lib/witness.json")


def test_a_pool_s_name_cannot_lead_the_witness_elsewhere(tmp_path: Path) -> None:
    head = policy(tmp_path, MINIMAL.replace("north patients", "../../etc/x")).head
    assert ".." not in head.parts
    assert head.parent.name == "heads"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("epsilon_cap", "epsilon_capp", "did you mean 'epsilon_cap'"),
        ("pool =", "# pool =", "needs pool"),
        ('"private"', '"secret"', "cohort is one of private, public, synthetic"),
        ("epsilon_cap = 3", 'epsilon_cap = "3"', "epsilon_cap expected a number"),
        ("epsilon_cap = 3", "epsilon_cap = inf", "finite"),
        ("epsilon_cap = 3", "epsilon_cap = 0", "epsilon_cap > 0"),
        ("delta = 1e-5", "delta = 0.5", "delta"),
        ("smallest_cohort = 30", "smallest_cohort = 0", "smallest_cohort > 0"),
        ('["site-noise"]', "[]", "mechanisms is empty"),
        ('pool = "north patients"', 'pool = " "', "pool is empty"),
    ],
)
def test_a_policy_with_a_mistake_is_refused_by_key(tmp_path: Path, old: str, new: str, words: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        policy(tmp_path, MINIMAL.replace(old, new))
    assert words in caught.value.diagnostics()


def test_another_file_and_a_newer_version_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="wardround-site"):
        policy(tmp_path, MINIMAL.replace("wardround-site", "wardround-study"))
    with pytest.raises(StorageError, match="version 2"):
        policy(tmp_path, MINIMAL.replace("version = 1", "version = 2"))


def test_two_names_cannot_share_one_own_column(tmp_path: Path) -> None:
    with pytest.raises(ProtocolError, match="one own column"):
        policy(tmp_path, MINIMAL + '[columns]\nage = "A"\nweight = "A"\n')


def test_a_study_within_the_limits_is_allowed(tmp_path: Path) -> None:
    policy(tmp_path).check(study(privacy=NOISE))


def test_a_mechanism_that_the_site_does_not_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PolicyRefusal, match="allows site-noise") as caught:
        policy(tmp_path).check(study())
    assert caught.value.exit_code == 5


def test_mechanism_none_needs_a_public_or_synthetic_cohort_even_where_it_is_listed(tmp_path: Path) -> None:
    listed = MINIMAL.replace('["site-noise"]', '["site-noise", "none"]')
    with pytest.raises(PolicyRefusal, match="cohort is private"):
        policy(tmp_path, listed).check(study())
    for kind in ("public", "synthetic"):
        policy(tmp_path, listed.replace('"private"', f'"{kind}"')).check(study())


def test_a_purpose_without_consent_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PolicyRefusal, match="did not consent"):
        policy(tmp_path, MINIMAL + 'purposes = ["billing"]\n').check(study(privacy=NOISE))
    policy(tmp_path, MINIMAL + 'purposes = ["billing", "research on response"]\n').check(study(privacy=NOISE))


def test_a_delta_above_the_pool_s_lifetime_delta_is_refused(tmp_path: Path) -> None:
    own = policy(tmp_path)
    own.check(study(privacy=PrivacyTerms(mechanism="site-noise", noise_multiplier=10.0, delta=1e-6)))
    with pytest.raises(PolicyRefusal, match="lifetime delta is 1e-05"):
        own.check(study(privacy=PrivacyTerms(mechanism="site-noise", noise_multiplier=10.0, delta=1e-4)))


@pytest.mark.parametrize(("asked", "effective"), [(20, 30), (30, 30), (50, 50)])
def test_the_smallest_cohort_is_the_larger_of_study_and_site(
    tmp_path: Path, asked: int, effective: int
) -> None:
    assert policy(tmp_path).minimum_patients(study(minimum_patients=asked)) == effective


def test_a_policy_is_never_serialised_copied_or_changed(tmp_path: Path) -> None:
    own = policy(tmp_path)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="never serialised"):
            pickle.dumps(own, protocol)
    with pytest.raises(TypeError, match="never serialised"):
        copy.copy(own)
    with pytest.raises(AttributeError):
        own.epsilon_cap = 100.0  # type: ignore[misc]
    with pytest.raises(TypeError):
        own.columns["age"] = "x"  # type: ignore[index]


def test_the_text_of_a_policy_hides_where_things_are(tmp_path: Path) -> None:
    text = repr(policy(tmp_path, MINIMAL + '[columns]\nage = "AGE_AT_DX"\n'))
    assert str(tmp_path) not in text
    assert "AGE_AT_DX" not in text
    assert "patients.csv" not in text


def test_a_witness_inside_the_ledgers_own_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProtocolError, match="one backup restores both"):
        policy(tmp_path, MINIMAL + 'head = "ledger/head.json"\n')


@pytest.mark.parametrize(("line", "offered"), [("", (HYBRID,)), ('key_agreement = "any"\n', SUITES)])
def test_a_site_offers_the_hybrid_alone_unless_it_says_otherwise(
    tmp_path: Path, line: str, offered: tuple[str, ...]
) -> None:
    assert policy(tmp_path, MINIMAL + line).suites == offered


def test_a_joint_study_is_refused_at_approval_where_the_hybrid_cannot_be_had(tmp_path: Path) -> None:
    # Another process, in which `cryptography` has no ML-KEM, as before its version 47.
    program = """
import sys
sys.modules["cryptography.hazmat.primitives.asymmetric.mlkem"] = None
from wardround.client.policy import SitePolicy
from wardround.common.errors import PolicyRefusal
from wardround.common.study.reader import load
own, study = SitePolicy.load(sys.argv[1]), load(sys.argv[2])
try:
    own.check(study)
except PolicyRefusal as refusal:
    print(refusal, refusal.advice)
else:
    print("offers", own.suites)
"""
    file = tmp_path / "study.toml"
    file.write_text(dumps(joint_protocol()), encoding="utf-8")
    for line, words in (
        ("", "cannot do that install a newer"),
        ('key_agreement = "any"\n', "offers ('x25519',)"),
    ):
        policy(tmp_path, MINIMAL.replace("site-noise", "joint-noise") + line)
        command = [sys.executable, "-c", program, str(tmp_path / "site.toml"), str(file)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert words in done.stdout
