"""The thin Flower bundle: one `pyproject.toml` that names installed apps, and no code.

Flower cannot start a run without a bundle (FAB). Ours says nothing that anybody believes: sites and server run what
they have installed, and a site refuses a bundle that carries anything else.
"""

import io
import zipfile
from typing import Final

from wardround.common.errors import TrustError

_FILE: Final = "pyproject.toml"
_LARGEST: Final = 10_000  # bytes
_DATE: Final = (1980, 1, 1, 0, 0, 0)
_TEXT: Final = """\
[project]
name = "wardround-study"
version = "1.0.0"
description = "Names what is installed; carries no code."

[tool.flwr.app]
publisher = "wardround"

[tool.flwr.app.components]
serverapp = "wardround.server.app:server_app"
clientapp = "wardround.client.app:client_app"

[tool.flwr.app.config]
"""


def thin_bundle() -> bytes:
    """The same bytes on every machine."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr(zipfile.ZipInfo(_FILE, date_time=_DATE), _TEXT)
    return data.getvalue()


def check_thin(data: bytes) -> None:
    """Refuse a bundle that carries anything beside a small `pyproject.toml`. Its content is not even read.

    Raises:
        TrustError: It does, or it is no bundle.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = [member.filename for member in archive.infolist()]
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        raise TrustError("expected a Flower bundle, found bytes that are none") from None
    if names != [_FILE] or len(data) > _LARGEST:
        raise TrustError(
            f"expected a Flower bundle with nothing but {_FILE}, found {len(names)} files and {len(data)} bytes",
            advice="somebody tries to send code: tell the other hospitals, by telephone",
        )
