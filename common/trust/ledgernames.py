"""By what the entries of a ledger name a study, a run, an attempt and a log."""

from collections.abc import Mapping

from wardround.common.errors import UsageError
from wardround.common.trust.witness import Seen

StudyKey = tuple[str, str]  # name and protocol digest
Moment = tuple[int, int]  # round and attempt


def key_of(payload: Mapping[str, object]) -> StudyKey:
    """Name and protocol digest."""
    return str(payload["study"]), str(payload["protocol"])


def attempt_of(study: str, protocol_digest: str, round_: int, attempt: int) -> dict[str, object]:
    """The fields by which entries name an attempt."""
    return {"study": study, "protocol": protocol_digest, "round": round_, "attempt": attempt}


def run_of(payload: Mapping[str, object]) -> str:
    """The run that an entry names; empty where it names none."""
    return str(payload.get("run", ""))


def moment_of(payload: Mapping[str, object]) -> Moment:
    """Round and attempt."""
    match payload:
        case {"round": int(round_), "attempt": int(attempt)}:
            return round_, attempt
    raise UsageError("expected round and attempt to be whole numbers >= 0")


def of_run(run: str) -> dict[str, object]:
    """The field that names a run, if there is one."""
    return {"run": run} if run else {}


def of_log(seen: Seen | None) -> dict[str, object]:
    """The field that names what was cosigned of a log, if anything was."""
    return {} if seen is None else {"log": seen.to_dict()}
