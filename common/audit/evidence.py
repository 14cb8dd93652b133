"""What an auditor was handed: one or more bundle folders, read as files and nothing else.

A bundle is a folder with a `manifest.json` that lists its files with size and SHA-256. The server's bundle and those of
hospitals are laid over each other: each file counts from the first folder that has it, and two that differ are a
finding. A run folder without a manifest can be read too; then nothing says whether all files are there.

Nothing here is believed: which files exist and what their bytes are. Links are not followed out of a folder.
"""

import os
import stat
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from wardround.common.audit.bundling import FORMAT, MANIFEST, VERSION
from wardround.common.audit.verdicts import Finding, confirmed, not_checkable, refuted
from wardround.common.errors import StorageError, WardroundError
from wardround.common.formats import check_header, digest
from wardround.common.trust.sealed import read_json
from wardround.common.trust.signed import is_digest

LOG: Final = "study-log.jsonl"
STUDY: Final = "study.toml"
CHECKPOINTS: Final = "checkpoints.jsonl"
ROSTER: Final = "roster.json"
MODEL: Final = "model.safetensors"
RESULTS: Final = "results.json"
ARCHIVE: Final = "archive"
LEDGERS: Final = "ledgers"
WITNESS: Final = "witness"
APPROVALS: Final = "approvals"

LARGEST: Final = 1 << 30
"""Bytes of a file that is read at once; a study's log is a few megabytes."""

_MOST_FILES: Final = 1_000_000
_FEDERATION: Final = "federation"  # where a run folder keeps log, checkpoints and archive
_WHOLE: Final = "the bundle holds the files that its manifest lists, unchanged, and no others"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Files by name.

    Attributes:
        folders: Where they were found, in the order in which they count.
        files: Name as in a bundle -> path.
        findings: What the manifests say of them.
        folded: Folder -> names directly below it, sorted.
    """

    folders: tuple[Path, ...]
    files: Mapping[str, Path]
    findings: tuple[Finding, ...]
    folded: Mapping[str, tuple[str, ...]]

    def read(self, name: str) -> bytes | None:
        """The bytes of a file; None if there is none.

        Raises:
            StorageError: It cannot be read, or is too large.
        """
        path = self.files.get(name)
        return None if path is None else _bytes(path)

    def need(self, name: str) -> bytes:
        """The bytes of a file without which nothing can be said.

        Raises:
            StorageError: It is not there, cannot be read, or is too large.
        """
        data = self.read(name)
        if data is None:
            places = ", ".join(map(str, self.folders))
            raise StorageError(
                f"expected {name} in {places}, found none",
                advice="give the folder that `wardround server bundle` or `wardround site bundle` wrote",
            )
        return data

    def below(self, folder: str) -> tuple[str, ...]:
        """The names directly below a folder, sorted."""
        return self.folded.get(folder, ())


def gather(folders: tuple[Path, ...]) -> Evidence:
    """Find the files of some bundles.

    Raises:
        StorageError: A folder cannot be read.
    """
    files: dict[str, Path] = {}
    findings: list[Finding] = []
    for folder in folders:
        own = dict(_walk(folder))
        findings += _against_manifest(folder, own)
        for name, path in own.items():
            place = name.removeprefix(f"{_FEDERATION}/")
            if place in files and place != MANIFEST and _bytes(files[place]) != _bytes(path):
                findings.append(_differs(place, files[place], path))
            files.setdefault(place, path)
    return Evidence(folders=folders, files=files, findings=tuple(findings), folded=_folded(files))


def _folded(files: Mapping[str, Path]) -> Mapping[str, tuple[str, ...]]:
    found: dict[str, list[str]] = defaultdict(list)
    for name in sorted(files):
        found[str(PurePosixPath(name).parent)].append(name)
    return {folder: tuple(names) for folder, names in found.items()}


def _differs(name: str, one: Path, other: Path) -> Finding:
    return refuted(
        "all bundles hold the same record of the study",
        expected=f"one content of {name}",
        found=f"{one} and {other} differ",
        where=name,
    )


def _walk(folder: Path) -> Iterator[tuple[str, Path]]:
    """Regular files below a folder; links and devices are not looked at."""
    if not folder.is_dir():
        raise StorageError(f"expected a folder at {folder}, found none")
    count = 0
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place) / name
            count += 1
            if count > _MOST_FILES:
                raise StorageError(f"expected at most {_MOST_FILES} files in {folder}")
            if stat.S_ISREG(path.lstat().st_mode):
                yield path.relative_to(folder).as_posix(), path


def _bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > LARGEST:
            raise StorageError(f"expected at most {LARGEST} bytes in {path}, found more")
        return path.read_bytes()
    except OSError as error:
        raise StorageError(f"could not read {path}: {error.strerror or error}") from error


def _against_manifest(folder: Path, found: Mapping[str, Path]) -> Iterator[Finding]:
    if MANIFEST not in found:
        yield not_checkable(_WHOLE, why="there is no manifest: this is no bundle", where=str(folder))
        return
    where = f"{folder.name}/{MANIFEST}"
    try:
        listed = _listed(_bytes(found[MANIFEST]), where)
    except WardroundError as error:
        yield refuted(_WHOLE, expected="a manifest", found=str(error), where=where)
        return
    faults = dict(_faults(listed, {name: path for name, path in found.items() if name != MANIFEST}))
    for name, fault in list(faults.items())[:20]:
        yield refuted(_WHOLE, expected="the file as listed", found=fault, where=f"{folder.name}/{name}")
    if not faults:
        yield confirmed(_WHOLE, found=f"{len(listed)} files", where=folder.name)


def _listed(data: bytes, where: str) -> Mapping[str, str]:
    found = read_json(data, where=where, longest=LARGEST)
    check_header(found, name=FORMAT, version=VERSION, where=where)
    match found:
        case {"files": dict(files)}:
            digests = {
                str(name): entry.get("sha256") for name, entry in files.items() if isinstance(entry, dict)
            }
            if len(digests) == len(files) and all(map(is_digest, digests.values())):
                return {name: str(value) for name, value in digests.items()}
    raise StorageError(f"expected files with their SHA-256 in {where}")


def _faults(listed: Mapping[str, str], found: Mapping[str, Path]) -> Iterator[tuple[str, str]]:
    for name, expected in listed.items():
        if name not in found:
            yield name, "no such file"
        elif digest(_bytes(found[name])) != expected:
            yield name, "another content"
    for name in sorted(found.keys() - listed.keys()):
        yield name, "a file that is not listed"
