"""`study explain`: every key is explained, from the one place where its meaning is written."""

from dataclasses import dataclass

import pytest

from wardround.common.errors import UsageError
from wardround.common.study.explain import attributes, explain, keys
from wardround.common.study.reader import load
from wardround.common.study.schema import Feature


def test_every_key_of_a_study_has_a_meaning_a_form_and_a_default() -> None:
    found = list(keys())
    assert len(found) > 60
    assert [key.name for key in found if not (key.meaning and key.form and key.default)] == []


def test_a_key_shows_meaning_type_and_default() -> None:
    assert explain("privacy.noise_multiplier") == (
        "privacy.noise_multiplier\n"
        "  z, noise standard deviation divided by C, dimensionless. Under `joint-noise` that of any\n"
        "  `honest_sites` shares together.\n"
        "  A number; default 0.0."
    )


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("features.missing", '  One of refuse, reference, indicator; default "reference".'),
        ("features.name", "  Text; required."),
        ("features.low", "  A number; default no limit."),
        ("federation.quorum", "  A whole number; default 0."),
        ("cohort.subgroups", "  List of text; default empty."),
        ("model.hidden", "  List of whole numbers; default empty."),
        ("inputs.loadings", "  Text; default empty."),
        ("seed", "  A whole number; default absent."),
        ("outcome.kind", "  One of binary, classes, continuous, survival; required."),
        ("outcome.cut_points", "  List of numbers; required. Only with kind survival."),
        ("outcome.source", "  Text; required."),
        ("federation.sites.weight", "  A number; default 1.0."),
    ],
)
def test_types_and_defaults_are_in_words(key: str, line: str) -> None:
    assert line in explain(key).splitlines()


def test_a_key_with_two_meanings_shows_both() -> None:
    assert explain("outcome.unit").count("outcome.unit\n") == 2


def test_a_section_explains_all_its_keys() -> None:
    text = explain("privacy")
    assert text.count("\n\n") == 8
    assert text.startswith("privacy.mechanism\n")


def test_no_key_lists_all_names_once() -> None:
    names = explain("").splitlines()
    assert len(names) == len(set(names))
    assert {"seed", "study.question", "features.sd", "federation.sites.name"} <= set(names)


def test_every_key_of_a_written_study_can_be_explained() -> None:
    import tomllib
    from pathlib import Path

    golden = Path(__file__).parent.parent / "golden" / "study-v1.toml"
    assert load(golden)
    top = tomllib.loads(golden.read_text(encoding="utf-8"))
    known = set(explain("").splitlines())
    for section, table in top.items():
        for block in table if isinstance(table, list) else [table]:
            named = {f"{section}.{key}" for key in block} if isinstance(block, dict) else set()
            assert named - known <= {"features.names", "federation.sites"}


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("privacy.detla", "privacy.delta"),
        ("noise_multiplier", "privacy.noise_multiplier"),
        ("federation.delta", "privacy.delta"),
    ],
)
def test_an_unknown_key_names_the_nearest(key: str, near: str) -> None:
    with pytest.raises(UsageError, match=f"no key '{key}'") as caught:
        explain(key)
    assert near in caught.value.advice


def test_a_key_like_no_other_points_at_the_list() -> None:
    with pytest.raises(UsageError) as caught:
        explain("zzzzzz")
    assert "lists all keys" in caught.value.advice


def test_a_meaning_over_several_lines_becomes_one() -> None:
    assert attributes(Feature)["kind"].endswith("`categorical` (one input per category).")
    assert "\n" not in "".join(attributes(Feature).values())


def test_a_class_without_attributes_has_no_meanings() -> None:
    @dataclass
    class Bare:
        """Nothing more."""

    assert attributes(Bare) == {}
