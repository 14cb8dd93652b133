"""By what the entries of a ledger name a study, a run, an attempt and a log."""

from collections.abc import Mapping
from typing import Final, Literal

from wardround.common.errors import UsageError
from wardround.common.trust.witness import Seen

Pool = Literal["training", "held-out"]
"""Which patients a charge is about: those of training, or those that are kept out of it and evaluate."""

HELD_OUT: Final[Pool] = "held-out"

StudyKey = tuple[str, str, Pool]  # name and protocol digest, and whose account
Moment = tuple[int, int]  # round and attempt


def key_of(payload: Mapping[str, object]) -> StudyKey:
    """Name, protocol digest, and pool."""
    return str(payload["study"]), str(payload["protocol"]), pool_of(payload)


def pool_of(payload: Mapping[str, object]) -> Pool:
    """The pool that an entry is about; that of training where it names none."""
    return HELD_OUT if payload.get("pool") == HELD_OUT else "training"


def of_pool(pool: Pool) -> dict[str, object]:
    """The field that names a pool other than that of training."""
    return {"pool": pool} if pool == HELD_OUT else {}


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
