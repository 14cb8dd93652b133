"""The report answers first, hides nothing about privacy, needs no network, and takes names literally."""

import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from tests.runs import joint_run

from wardround.common.study.protocol import StudyProtocol
from wardround.simulations.consortium import draw_biology
from wardround.simulations.demo_arms import without_privacy
from wardround.simulations.demo_studies import studies
from wardround.simulations.privacy_words import NOT_PROTECTED, banners, stated
from wardround.simulations.reference import public_reference
from wardround.simulations.report import render, write_report
from wardround.simulations.resultrows import (
    CohortRow,
    CurveRow,
    EpsilonRow,
    EvaluationRow,
    GainRow,
    SubgroupRow,
)
from wardround.simulations.results import Results

HOSTILE = "<script>alert('x')</script>"
VOID = {"meta", "br", "img", "link", "input", "hr"}


@pytest.fixture(scope="module")
def protocol() -> StudyProtocol:
    rng = np.random.default_rng(0)
    reference = public_reference(rng, biology=draw_biology(rng), patients=60)
    return studies(reference, loadings_sha256="0" * 64)["demo-response"]


def run(site: str = "Alder", *, epsilon: float = 2.9997) -> Results:
    private = math.isfinite(epsilon)
    return Results(
        study="demo-response",
        mechanism="site-noise" if private else "none",
        training_private=private,
        evaluation_private=False,
        delta=1e-5,
        epsilon=(EpsilonRow(site=site, adversary="server, all other sites and outsiders", value=epsilon),),
        rounds=30,
        evaluation=(
            EvaluationRow(model="federated", on="all", metric="auc", value=0.871, low=0.8, high=0.9),
            EvaluationRow(model="federated", on=site, metric="auc", value=0.85, low=0.8, high=0.9),
            EvaluationRow(model=f"local:{site}", on=site, metric="auc", value=0.73, low=0.6, high=0.8),
        ),
        gains=(
            GainRow(
                site=site,
                metric="auc",
                federated=0.85,
                local=0.73,
                difference=0.12,
                low=0.03,
                high=0.21,
                probability_better=0.99,
            ),
        ),
        curves=(CurveRow(round=1, on=site, metric="auc", value=0.7),),
        subgroups=(
            SubgroupRow(
                model="federated",
                column="sex",
                group=site,
                metric="auc",
                value=0.8,
                low=0.7,
                high=0.9,
                patients=31,
            ),
        ),
        cohorts=(CohortRow(site=site, patients=60, held_out=21),),
        left_out_sites=2,
        protocol_digest="ab" * 32,
        data_digest="cd" * 32,
        code_digest="ef" * 32,
        code_version="0.1.0",
        notes=(f"A note about {site}.",),
    )


class Page(HTMLParser):
    """Tags, attributes and visible text of a page; complains about unbalanced tags."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.open: list[str] = []
        self._pieces: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self._pieces.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self._pieces).split())


def test_the_first_sentence_of_a_hospital_says_whether_how_much_and_how_sure(protocol: StudyProtocol) -> None:
    text = Page(render(run(), protocol)).text
    answer = (
        "Alder (60 patients): the joint model is better than its own: "
        "AUC .85 against .73, a difference of +.12 [.03 to .21]."
    )
    assert answer in text
    assert text.index(answer) < text.index("Hospital by hospital")
    assert "The joint model is better at 1 of 1 hospital." in text


def test_a_hostile_name_appears_as_text_everywhere_and_as_markup_nowhere(protocol: StudyProtocol) -> None:
    page = Page(render(run(HOSTILE), protocol))
    assert "script" not in page.tags
    assert page.open == []
    # The answer, the note, both tables, the group, and the pictures.
    assert page.text.count(HOSTILE) >= 6


def test_the_page_loads_nothing_and_runs_nothing(protocol: StudyProtocol) -> None:
    text = render(run(), protocol)
    page = Page(text)
    assert not {"script", "link", "iframe", "img", "object", "embed", "base"} & set(page.tags)
    addresses = [v for n, v in page.attributes if n in ("src", "href", "xlink:href", "action", "data")]
    assert all(value.startswith("#") for value in addresses)
    assert not any(name.startswith("on") for name, _ in page.attributes)
    assert "@import" not in text
    assert not re.search(r"url\(\s*['\"]?(?!#)", text)
    assert ("http-equiv", "Content-Security-Policy") in page.attributes


def test_a_private_run_states_epsilon_with_everything_that_gives_it_meaning(protocol: StudyProtocol) -> None:
    text = Page(render(run(), protocol)).text
    for part in (
        "Training is private. This table is not.",
        "2.9997",
        "1e-5",
        "one patient, with all rows and samples",
        "add or remove one patient",
        "for its lifetime",
        "the server, all other hospitals and outsiders, all together",
        "at most a factor of 20.1",
    ):
        assert part in text
    assert all(item in text for item in NOT_PROTECTED)
    assert "Any single patient" not in text


def joint_page() -> str:
    return Page((joint_run() / "report.html").read_text(encoding="utf-8")).text


def test_joint_noise_is_stated_with_whom_it_counts_on_and_what_holds_if_they_fail() -> None:
    text = joint_page()
    for part in (
        "Training is private. This table is not.",
        "as long as at least 2 of the 3 hospitals are honest",
        "Against server and outsiders ",
        "Against server, outsiders and one site ",
        "Against server, outsiders and up to 1 of 3 sites: at least 2 are honest (the claim)",
        "Against everybody else together: only the site's own share of the noise is left",
        "all that 1 of them knows, can raise or lower the odds",
        "the server, outsiders and up to 1 of the 3 hospitals, all together",
        "if fewer than 2 hospitals are honest",
        "people compared the fingerprints",
    ):
        assert part in text
    assert "full noise" not in text
    assert "the server, all other hospitals and outsiders, all together" not in text


def test_the_odds_and_the_bars_are_those_of_the_claim_not_of_another_coalition() -> None:
    run = Results.load(joint_run() / "results.json")
    assert f"at most a factor of {math.exp(run.largest()):.3g}" in joint_page()
    page = (joint_run() / "report.html").read_text(encoding="utf-8")
    assert f'<desc id="spent-desc">west: {run.largest():.4f}; south' in page


def test_every_hospitals_line_holds_each_epsilon_and_that_of_replacing() -> None:
    run = Results.load(joint_run() / "results.json")
    text = joint_page()
    line = " ".join(
        f"{stated(one.value)} ({stated(two.value)})"
        for one, two in zip(run.epsilon[:4], run.replaced[:4], strict=True)
    )
    assert text.count(line) == 3


def test_replacing_a_patient_is_printed_beside_adding_or_removing_one(protocol: StudyProtocol) -> None:
    # At q = 1 replacing doubles mu: 3 becomes 6.71 at delta 1e-5.
    whole = replace(run(), rounds=protocol.federation.rounds)
    assert re.search(r"cost 6\.70\d+ where they cost (3|2\.999\d*)\b", Page(render(whole, protocol)).text)


def test_a_run_without_privacy_says_so_and_claims_no_protection(protocol: StudyProtocol) -> None:
    text = Page(render(run(epsilon=math.inf), without_privacy(protocol))).text
    assert "No privacy protection" in text
    assert "infinite" in text
    assert "Training is private" not in text
    assert "within epsilon and delta" not in text
    assert "at most a factor" not in text
    assert "Any single patient" in text


def test_drafted_constants_and_imagined_hospitals_are_said_on_top(protocol: StudyProtocol) -> None:
    drafted = replace(run(), training_private=False, drafted=True, imagined_sites=True)
    assert [banner.tone for banner in banners(drafted)] == ["warning", "warning"]
    text = Page(render(drafted, protocol)).text
    assert text.index("drafted from this study's own table") < text.index("Is the joint model better")
    assert "repeated runs on one table compose" in text
    assert "Training is private" not in text
    assert "at most a factor" not in text


def test_a_private_mechanism_without_private_training_is_called_not_private() -> None:
    titles = [banner.title for banner in banners(replace(run(), training_private=False))]
    assert titles == ["Training is not private"]


def test_the_page_names_protocol_data_code_and_left_out_sites(protocol: StudyProtocol) -> None:
    text = Page(render(run(), protocol)).text
    for fact in ("ab" * 32, "cd" * 32, "ef" * 32, "wardround 0.1.0", "below the protocol's minimum 2"):
        assert fact in text


def test_the_intended_use_of_the_protocol_is_printed(protocol: StudyProtocol) -> None:
    assert protocol.study.intended_use in Page(render(run(), protocol)).text


def test_models_that_never_saw_a_hospital_get_a_column_only_where_they_were_trained(
    protocol: StudyProtocol,
) -> None:
    unseen = EvaluationRow(
        model="federated-without:Alder", on="Alder", metric="auc", value=0.66, low=0.5, high=0.8
    )
    assert "trained without it" not in Page(render(run(), protocol)).text
    text = Page(render(replace(run(), evaluation=(*run().evaluation, unseen)), protocol)).text
    assert "trained without it" in text
    assert ".66" in text


def test_a_run_that_measured_nothing_still_has_a_page(protocol: StudyProtocol) -> None:
    empty = replace(run(), evaluation=(), gains=(), curves=(), subgroups=(), cohorts=(), epsilon=())
    assert "No hospital could be compared." in Page(render(empty, protocol)).text


def test_equal_results_give_equal_pages_on_disk(protocol: StudyProtocol, tmp_path: Path) -> None:
    path = write_report(run(), protocol, tmp_path)
    assert path == tmp_path / "report.html"
    assert path.read_text(encoding="utf-8") == render(run(), protocol)
