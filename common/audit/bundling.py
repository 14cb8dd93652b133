"""Writing what is handed to an auditor: a folder of copies, and a manifest that names each with its SHA-256.

    manifest.json   {"format": "wardround-audit-bundle", "version": 1, "kind": "server", "study": ..., "protocol": ...,
                     "by": ..., "code": ..., "package": ..., "files": {"study.toml": {"bytes": 12, "sha256": ...}}}

The folder appears whole or not at all. The manifest says that nothing was lost on the way; it is not signed and proves
nothing: what an auditor believes is signed in the files themselves. Whoever calls chooses the files, and answers for
that nothing private is among them.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Final, Literal

from wardround.common.code import package_digest
from wardround.common.durable import sync_folder, write_atomic
from wardround.common.errors import StorageError, UsageError
from wardround.common.formats import digest, header

FORMAT: Final = "wardround-audit-bundle"
VERSION: Final = 1
MANIFEST: Final = "manifest.json"

BundleKind = Literal["server", "site", "simulation"]

_BLOCK: Final = 1 << 20  # bytes


def write_bundle(
    out: Path, files: Mapping[str, Path | bytes], *, kind: BundleKind, study: str, protocol: str, by: str
) -> Path:
    """Copy files into a new folder, with a manifest.

    Args:
        out: The folder; there must be none yet.
        files: Name in the bundle, relative and in POSIX form -> content, or the file to copy.
        kind: Who hands it over.
        study: Name of the study.
        protocol: Digest of its protocol.
        by: Name of the party.

    Returns:
        `out`.

    Raises:
        UsageError: `out` exists.
        StorageError: A file cannot be read, or the disk is full; nothing is left at `out`.
    """
    if out.exists():
        raise UsageError(f"{out} exists already", advice="choose another --out; nothing was changed")
    draft = out.with_name(f".{out.name}.draft")
    try:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        listed = {name: _copy(source, draft, name) for name, source in sorted(files.items())}
        about = {"kind": kind, "study": study, "protocol": protocol, "by": by}
        code = {"code": package_digest(), "package": version("wardround")}
        manifest = {**header(FORMAT, VERSION), **about, **code, "files": listed}
        write_atomic(draft / MANIFEST, (json.dumps(manifest, indent=1, ensure_ascii=False) + "\n").encode())
        os.replace(draft, out)
        sync_folder(out.parent)
    except OSError as error:
        shutil.rmtree(draft, ignore_errors=True)
        raise StorageError(
            f"could not write the bundle {out}: {error.strerror or error}",
            advice="check free space and permissions, and repeat the command",
        ) from error
    return out


def file_name(party: str) -> str:
    """A name for a party's own files: readable, safe on any disk, and of no other party.

    Example:
        >>> file_name("Orléans / Sud")
        'Orl-ans-Sud-64130f'
    """
    plain = "".join(one if one.isascii() and one.isalnum() else "-" for one in party)
    words = "-".join(word for word in plain.split("-") if word)
    return f"{words[:80] or 'site'}-{digest(party.encode())[:6]}"


def _copy(source: Path | bytes, root: Path, name: str) -> dict[str, object]:
    """Copy one file; its size and SHA-256."""
    place = PurePosixPath(name)
    if place.is_absolute() or ".." in place.parts or str(place) != name or name == MANIFEST:
        raise UsageError(f"expected a plain relative name in a bundle, found {name!r:.80}")
    path = root / place
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(source, bytes):
        path.write_bytes(source)
        return {"bytes": len(source), "sha256": digest(source)}
    size, sum_ = 0, hashlib.sha256()
    with source.open("rb") as read, path.open("wb") as write:
        while block := read.read(_BLOCK):
            size += write.write(block)
            sum_.update(block)
    return {"bytes": size, "sha256": sum_.hexdigest()}
