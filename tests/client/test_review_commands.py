"""`wardround site review|approve|revoke|studies` and `wardround server publish`, as typed."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.consortia import Consortium, asked

from wardround.cli import main
from wardround.common.formats import digest

STUDY = asked()


@pytest.fixture
def made(tmp_path: Path) -> Consortium:
    return Consortium(tmp_path, names=("north", "south"))


def test_from_review_to_revocation(made: Consortium, capsys: pytest.CaptureFixture[str]) -> None:
    home, bundle = str(made.site("north")), str(made.publish(STUDY))
    assert main(["site", "studies", home]) == 0
    assert "No study" in capsys.readouterr().out
    assert main(["site", "review", home, bundle]) == 0
    assert "Policy, caps and table allow this study" in capsys.readouterr().out
    assert main(["site", "approve", home, bundle]) == 0
    assert f"wardround site revoke {home} asked" in capsys.readouterr().out
    assert main(["site", "approve", home, bundle]) == 0
    assert "approved already" in capsys.readouterr().out
    assert main(["site", "studies", home, "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["state"], found["charged"], found["reserved"]) == ("approved", 0, 6)
    assert main(["site", "revoke", home, "asked"]) == 0
    assert "declined" in capsys.readouterr().out
    assert main(["site", "studies", home]) == 0
    assert "revoked" in capsys.readouterr().out
    assert main(["site", "approve", home, "asked"]) == 0  # by name, from the bundle that was kept
    assert main(["site", "approve", home, bundle, "--again"]) == 2


def test_a_review_that_finds_reasons_ends_with_the_first_ones_code(
    made: Consortium, capsys: pytest.CaptureFixture[str]
) -> None:
    home, bundle = str(made.site("north")), str(made.publish(STUDY))
    made.edit("north", "epsilon_cap = 8.0", "epsilon_cap = 0.1")
    assert main(["site", "review", home, bundle, "--json"]) == 5
    assert json.loads(capsys.readouterr().out)["allowed"] is False
    assert main(["site", "approve", home, bundle]) == 5


def test_only_the_bundle_that_was_reviewed_is_approved(
    made: Consortium, capsys: pytest.CaptureFixture[str]
) -> None:
    home, bundle = str(made.site("north")), made.publish(STUDY)
    assert main(["site", "approve", home, str(bundle)]) == 2
    assert "never reviewed here" in capsys.readouterr().err
    assert main(["site", "review", home, str(bundle), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)["bundle"]
    assert shown == digest(bundle.read_bytes())
    made.publish(
        replace(STUDY, federation=replace(STUDY.federation, rounds=2))
    )  # the same file, another study
    assert digest(bundle.read_bytes()) != shown
    assert main(["site", "approve", home, str(bundle)]) == 2
    assert "never reviewed here" in capsys.readouterr().err
    assert main(["site", "approve", home, str(bundle), "--digest", shown]) == 2
    assert f"expected the bundle {shown}" in capsys.readouterr().err
    assert main(["site", "approve", home, str(bundle), "--digest", digest(bundle.read_bytes())[:63]]) == 2
    assert main(["site", "studies", home]) == 0
    assert "No study" in capsys.readouterr().out


def test_a_review_on_another_computer_counts_by_its_digest(made: Consortium) -> None:
    home, bundle = made.site("north"), made.publish(STUDY)
    (home / "reviewed.json").write_text("{damaged", encoding="utf-8")
    named = digest(bundle.read_bytes())
    assert main(["site", "approve", str(home), str(bundle), "--digest", named]) == 0


def test_a_name_that_is_neither_file_nor_study_is_a_usage_error(
    made: Consortium, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["site", "approve", str(made.site("north")), "nothing"]) == 2
    assert "neither a file nor a study" in capsys.readouterr().err


def test_a_site_that_has_not_joined_is_told_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = Consortium(tmp_path, names=("north",))
    bundle = str(made.publish(STUDY))
    (made.site("north") / "consortium.json").unlink()
    assert main(["site", "review", str(made.site("north")), bundle]) == 2
    assert "not joined" in capsys.readouterr().err


def test_a_full_file_is_not_read_as_a_bundle(made: Consortium, capsys: pytest.CaptureFixture[str]) -> None:
    path = made.root / "other.wardround"
    path.write_bytes(b"PK\x03\x04" + bytes(1000))
    assert main(["site", "review", str(made.site("north")), str(path)]) == 6
    assert capsys.readouterr().out == ""


def test_publish_names_the_file_to_send(made: Consortium, capsys: pytest.CaptureFixture[str]) -> None:
    from wardround.common.study.reader import dumps

    study = made.root / "study.toml"
    study.write_text(dumps(replace(STUDY, study=replace(STUDY.study, name="typed"))), encoding="utf-8")
    assert main(["server", "publish", str(made.server), str(study)]) == 0
    assert "typed.wardround" in capsys.readouterr().out
