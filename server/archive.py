"""The archive of a study: every reply that was admitted under a private mechanism, exactly as it came.

    archive/ROUND-ATTEMPT/SHA256.envelope      a site's signed reply; the study log names its SHA-256
    archive/ROUND-ATTEMPT/roster.messages      under joint noise: all `ready` messages of the attempt
    archive/ROUND-ATTEMPT/agreements.messages  and all `agreed` ones, as `sumround.recompute_sum` reads them
    archive/models/SHA256.safetensors          a model that was solved for: its last bits depend on the machine

So a stranger can recompute every sum and every model. What is kept is private already: each update carries its own
noise, and a masked upload says nothing without the others' keys. Written before the log speaks of it; after a crash the
sites send identical bytes, which find their files. A file that no line of the log names was cut off and means nothing.

It grows by one model per round and hospital. A coordinator may do without; then sums are not checkable.
"""

from pathlib import Path
from typing import Final, Literal

from wardround.common.durable import sync_folder, write_atomic
from wardround.common.errors import StorageError
from wardround.common.formats import digest
from wardround.common.learning.parameters import Parameters, parameters_digest, to_bytes

ARCHIVE: Final = "archive"
ENVELOPE: Final = ".envelope"
MESSAGES: Final = ".messages"
MODELS: Final = "models"

Archiving = Literal["keep", "none"]


class Archive:
    """Where the replies of one study are kept.

    Args:
        folder: The archive's own folder, made with its first file; None to keep nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def keep(self, round_: int, attempt: int, reply: bytes) -> str:
        """Keep a reply, durably; its SHA-256, kept or not.

        Raises:
            StorageError: It could not be written.
        """
        name = digest(reply)
        self._write(moment_name(round_, attempt), f"{name}{ENVELOPE}", reply)
        return name

    def keep_messages(self, round_: int, attempt: int, name: str, body: bytes) -> None:
        """Keep several messages in one body (see `sumwire.pack_messages`), durably.

        Raises:
            StorageError: They could not be written.
        """
        self._write(moment_name(round_, attempt), f"{name}{MESSAGES}", body)

    def keep_model(self, model: Parameters) -> None:
        """Keep the result of a round that an auditor's machine might solve with other last bits, durably.

        Raises:
            StorageError: It could not be written.
        """
        self._write(MODELS, f"{parameters_digest(model)}.safetensors", to_bytes(model))

    def _write(self, folder: str, name: str, data: bytes) -> None:
        if self._folder is None:
            return
        place = self._folder / folder
        if not place.is_dir():
            _make(place)
        if not _holds(place / name, data):
            write_atomic(place / name, data)


def moment_name(round_: int, attempt: int) -> str:
    """The folder of one attempt.

    >>> moment_name(3, 1)
    '3-1'
    """
    return f"{round_}-{attempt}"


def _holds(path: Path, data: bytes) -> bool:
    return path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data


def _make(place: Path) -> None:
    try:
        place.mkdir(parents=True, exist_ok=True)
        sync_folder(place.parent)
        sync_folder(place.parent.parent)
    except OSError as error:
        raise StorageError(f"could not make {place}: {error.strerror or error}") from error
