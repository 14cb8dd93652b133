"""One small outcome of each kind, for tests of measures and predictions."""

from wardround.common.study.outcomes import BinaryOutcome, ClassOutcome, ContinuousOutcome, SurvivalOutcome

BINARY = BinaryOutcome(column="y", positive=("1",), negative=("0",), source="s")
CLASSES = ClassOutcome(column="y", classes=("a", "b", "c", "d"), source="s")
NUMBER = ContinuousOutcome(column="y", unit="mm", low=0, high=99, mean=40, sd=10, source="s")
SURVIVAL = SurvivalOutcome(
    time_column="t",
    event_column="e",
    event_values=("1",),
    censored_values=("0",),
    unit="months",
    high=300,
    cut_points=(12.0, 24.0),
    source="s",
)
