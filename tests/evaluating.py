"""Small studies that evaluate on held-out patients, for tests: site noise, joint noise, survival."""

from dataclasses import replace

from wardround.common.study.evaluation import EvaluationGroup, EvaluationTerms
from wardround.common.study.protocol import StudyProtocol

BY_SEX = (EvaluationGroup(column="sex", values=("f", "m")),)


def evaluated(protocol: StudyProtocol, **terms: object) -> StudyProtocol:
    """The study with an evaluation by sex; epsilon 3 unless the noise is given."""
    price = {} if "noise_multiplier" in terms else {"epsilon": 3.0}
    asked = EvaluationTerms(**{"groups": BY_SEX, **price, **terms})  # type: ignore[arg-type]
    return replace(protocol, cohort=replace(protocol.cohort, subgroups=("sex",)), evaluation=asked)
