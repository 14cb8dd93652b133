"""Publishing a study: what is wrong is found before any hospital sees it, and revisions only go on."""

from dataclasses import replace
from pathlib import Path

import pytest
from tests.consortia import JOINT, Consortium, asked

from wardround.common.errors import ProtocolError, StorageError, StudyError, WardroundError
from wardround.common.formats import digest
from wardround.common.study.bundle import read_bundle, read_bundle_file
from wardround.common.study.protocol import StudyProtocol
from wardround.common.study.reader import dumps, load
from wardround.common.study.terms import SiteTerms
from wardround.server.enrolment import remove
from wardround.server.publishing import publish

LOADINGS = b"feature,first,second\nage,0.5,1\nglucose,-0.5,2\n"


@pytest.fixture
def made(tmp_path: Path) -> Consortium:
    return Consortium(tmp_path)


def revision(made: Consortium, protocol: StudyProtocol) -> int:
    return read_bundle(made.bundle(protocol), made.key.public).revision


def test_a_published_study_stands_in_the_coordinators_folder(made: Consortium) -> None:
    path = made.publish(asked())
    assert path == made.server / "studies" / "asked" / "asked.wardround"
    assert load(path.with_name("study.toml")) == asked()
    assert read_bundle(read_bundle_file(path), made.key.public).protocol == asked()


def test_a_revision_counts_changes_of_protocol_and_roster_only(made: Consortium) -> None:
    assert [revision(made, asked()), revision(made, asked())] == [1, 1]
    assert revision(made, asked(rounds=4)) == 2
    assert revision(made, asked("another")) == 1
    remove(made.server, "west")
    assert revision(made, asked(rounds=4)) == 3


def test_another_study_under_the_name_of_a_finished_one_is_refused_before_hospitals_see_it(
    made: Consortium,
) -> None:
    """A second evaluation of a released model would be drafted under the name of the first."""
    run = made.publish(asked()).parent / "run"
    run.mkdir()
    (run / "results.json").write_text("{}")
    assert revision(made, asked()) == 1
    with pytest.raises(StudyError, match="is finished") as caught:
        made.publish(asked(rounds=4))
    assert "another name" in caught.value.advice
    assert load(run.with_name("study.toml")) == asked()


def test_loadings_travel_with_the_study(made: Consortium) -> None:
    base = asked()
    terms = replace(base.inputs, loadings="sub/l.csv", loadings_sha256=digest(LOADINGS), source="public")
    protocol = replace(base, inputs=terms)
    (made.root / "sub").mkdir()
    (made.root / "sub" / "l.csv").write_bytes(LOADINGS)
    path = made.publish(protocol)
    assert read_bundle(read_bundle_file(path), made.key.public).loadings == LOADINGS
    assert (path.parent / "sub" / "l.csv").read_bytes() == LOADINGS
    made.approve("north", protocol)
    (made.root / "sub" / "l.csv").write_bytes(LOADINGS + b"sex,1,1\n")
    with pytest.raises(ProtocolError, match="SHA-256"):
        made.publish(protocol)


@pytest.mark.parametrize("name", ["../identity.pem", "/etc/hostname", "study.toml"])
def test_loadings_elsewhere_are_refused(made: Consortium, name: str) -> None:
    base = asked()
    terms = replace(base.inputs, loadings=name, loadings_sha256=digest(b"x"), source="public")
    with pytest.raises(ProtocolError):
        made.publish(replace(base, inputs=terms))
    assert not (made.server / "studies" / "asked" / "asked.wardround").exists()


@pytest.mark.parametrize(
    ("protocol", "why"),
    [
        (asked(sites=(SiteTerms(name="north"), SiteTerms(name="nowhere"))), "nowhere, which is not enrolled"),
        (asked(sites=(SiteTerms(name="north"), SiteTerms(name="south"))), "no weight for west"),
        (asked(quorum=4), "quorum of 4"),
        (asked(privacy=replace(JOINT, honest_sites=3)), "3 honest sites"),
    ],
)
def test_a_roster_that_does_not_fit_is_refused(made: Consortium, protocol: StudyProtocol, why: str) -> None:
    with pytest.raises(WardroundError, match=why):
        made.publish(protocol)


def test_nobody_enrolled_is_a_reason(made: Consortium) -> None:
    for name in made.names:
        remove(made.server, name)
    with pytest.raises(StudyError):
        made.publish(asked())


def test_a_damaged_earlier_bundle_is_not_overwritten(made: Consortium) -> None:
    path = made.publish(asked())
    path.write_bytes(b"{")
    with pytest.raises(StorageError, match="published before"):
        made.publish(asked())
    assert path.read_bytes() == b"{"


def test_a_study_that_is_none_is_refused(made: Consortium) -> None:
    file = made.root / "bad.toml"
    file.write_text(dumps(asked()).replace("rounds = 3", "rounds = -3"), encoding="utf-8")
    with pytest.raises(ProtocolError):
        publish(made.server, file)
