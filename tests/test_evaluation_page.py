"""docs/evaluation.md: the section that it shows is one that a study can have, and its numbers are those of the code."""

import re
from pathlib import Path

from tests.evaluating import evaluated
from tests.runs import private_study

from wardround.common.study.evaluation import MEASURES, SCORE_SPREADS, EvaluationTerms
from wardround.common.study.explain import explain
from wardround.common.study.reader import dumps, loads

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "evaluation.md").read_text(encoding="utf-8")
(SECTION,) = re.findall(r"^<!-- study -->\n```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_section_of_the_page_is_accepted_and_says_what_it_seems_to_say() -> None:
    text = dumps(evaluated(private_study()))
    before, after = text[: text.index("[evaluation]")], text[text.index("[[features]]") :]
    terms = loads(before + SECTION + "\n" + after, "the page").evaluation
    assert terms is not None
    assert (terms.epsilon, terms.delta, terms.attempts) == (1.0, 1e-5, 2)
    assert (terms.measure, terms.direction, terms.threshold) == ("auc", "at-least", 0.7)
    assert terms.external_sites == ("west",)
    assert [(group.column, group.values) for group in terms.groups] == [("sex", ("f", "m"))]


def test_every_key_is_explained_and_the_edges_of_the_page_are_those_of_the_code() -> None:
    text = explain("evaluation")
    for name in EvaluationTerms.__dataclass_fields__:
        assert f"evaluation.{name}" in text or name == "groups"
    spreads = ", ".join(f"{edge:g}".lstrip("0") for edge in SCORE_SPREADS if edge > 0)
    assert f"at {spreads.replace(', 1.8', ' and 1.8')} spreads" in " ".join(PAGE.split())
    assert set(MEASURES) >= {"auc", "c_index"}
