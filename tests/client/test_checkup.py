"""The check-up as a whole: every fault is named, and no patient is shown."""

import pytest
from tests.hospital import RESPONSE, SUBTYPE, SURVIVAL, checked, hospital, only, study

from wardround.client.findings import summary
from wardround.common.study.outcomes import Outcome
from wardround.common.study.schema import Feature


@pytest.mark.parametrize("outcome", [RESPONSE, SUBTYPE, SURVIVAL])
def test_a_good_table_has_no_findings_at_all(outcome: Outcome) -> None:
    report = checked(study(outcome), only(hospital(), outcome))
    assert [finding.line() for finding in report.findings] == []
    assert report.fits


def test_many_findings_of_one_kind_become_a_few_lines() -> None:
    frame = only(hospital())
    genes = tuple(Feature(name=f"x{n}", kind="continuous", low=0, high=1, source="s") for n in range(30))
    wide = frame.assign(**{gene.name: "2000.5" for gene in genes})
    lines = summary(checked(study(features=genes), wide).refusals)
    assert len(lines) == 6
    assert lines[-1].endswith("and 25 more")
