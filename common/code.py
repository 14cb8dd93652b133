"""Which code this is: one digest over every source file of the installed package, read without importing any.

It names code; it proves nothing about what ran. A site states it in every approval, so that an auditor can compare it
with the release that was reviewed:

    >>> digest_of({"wardround/a.py": b"", "wardround/b.py": b"x"})[:16]
    '55a8ba81931fca6c'

The digest is SHA-256 of the canonical JSON of [path, SHA-256] of each `.py` file, sorted by path, with paths as they
stand in the wheel.
"""

import functools
import zipfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from wardround.common.errors import StorageError
from wardround.common.formats import canonical, digest

_ROOT: Final = "wardround"
_PARTS: Final = ("client", "common", "server", "simulations")


def digest_of(files: Mapping[str, bytes]) -> str:
    """The digest of a package.

    Args:
        files: Path as in the wheel -> content, of every source file.
    """
    return digest(canonical([[path, digest(files[path])] for path in sorted(files)]))


@functools.cache
def package_digest() -> str:
    """The digest of the package that is installed here, as its files were at the first call."""
    return digest_of(_installed())


def wheel_digest(path: Path) -> str:
    """The digest of the package in a wheel; equal to `package_digest` where exactly that wheel is installed.

    Raises:
        StorageError: It cannot be read, or is no wheel.
    """
    try:
        with zipfile.ZipFile(path) as wheel:
            names = [name for name in wheel.namelist() if name.endswith(".py")]
            return digest_of({name: wheel.read(name) for name in names})
    except (OSError, zipfile.BadZipFile) as error:
        raise StorageError(
            f"could not read {path} as a wheel: {error}", advice="give the .whl file"
        ) from None


def _installed() -> dict[str, bytes]:
    found = {f"{_ROOT}/{path.name}": path for place in _places(_ROOT) for path in place.glob("*.py")}
    for part in _PARTS:
        for place in _places(f"{_ROOT}.{part}"):
            for path in place.rglob("*.py"):
                found[f"{_ROOT}/{part}/{path.relative_to(place).as_posix()}"] = path
    return {name: path.read_bytes() for name, path in found.items()}


def _places(package: str) -> list[Path]:
    """Where a package's files are; nowhere if it is not installed. The package itself is not imported."""
    spec = find_spec(package)
    return [Path(place) for place in (spec and spec.submodule_search_locations) or ()]
