r"""The log of a study: signed lines that anybody can check, one DSSE envelope in JSON per line.

Each line is `{"payload": BASE64, "payloadType": "application/vnd.wardround+json", "signatures": [{"keyid": K,
"sig": BASE64}]}`. The payload is the canonical JSON of `seq` (from 0), `prev` (SHA-256 of the line before, without
its newline; 64 zeros in the first), `kind`, `time` (UTC) and `data`; the first also has `format` and `version`.
`keyid` is the fingerprint of a party of the roster, mostly the coordinator. Numbers are integers or decimal
strings.

A line is checked without this package; `key.pem` is the party's public key, line 3 stands for any:

    sed -n 3p study-log.jsonl | jq -r .payload | base64 -d > payload
    sed -n 3p study-log.jsonl | jq -r '.signatures[0].sig' | base64 -d > signature
    { printf 'DSSEv1 30 application/vnd.wardround+json %d ' "$(wc -c < payload)"; cat payload; } > message
    openssl pkeyutl -verify -pubin -inkey key.pem -rawin -in message -sigfile signature

What the log proves is who said what in which order. That it was neither shortened nor shown in two versions is what
the sites sign under its checkpoints (`checkpoint`, `witness`).

Source: DSSE (secure-systems-lab/dsse), envelope.md and protocol.md, version 1.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from wardround.common.durable import append_line, cut, exclusive, sync_folder
from wardround.common.errors import StorageError, TrustError, UsageError
from wardround.common.formats import canonical, check_header, digest, header
from wardround.common.trust.dsse import unwrap, wrap
from wardround.common.trust.identity import PublicKey, Roster, SigningKey
from wardround.common.trust.ledgerfile import read_bytes, split
from wardround.common.trust.ledgerline import NOTHING_BEFORE
from wardround.common.trust.merkle import Tree
from wardround.common.trust.signed import LOG_DOMAIN, exact_keys, parse, timestamp, utc_now

FORMAT = "wardround-study-log"
VERSION = 1

_KEYS = frozenset({"seq", "prev", "kind", "time", "data"})


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry:
    """One line of a study log.

    Attributes:
        seq: Its number, from 0.
        kind: What happened.
        time: UTC by the signer's clock.
        data: The details.
        keyid: Fingerprint of the key that signed.
        line: The exact bytes, without a newline.
    """

    seq: int
    kind: str
    time: str
    data: Mapping[str, object]
    keyid: str
    line: bytes

    @property
    def hash(self) -> str:
        """SHA-256 of the line: what the next one calls `prev`."""
        return digest(self.line)


class StudyLog:
    """A log that this process appends to.

    Opening checks the chain and the lines of its own key, and cuts off a torn last line, which nobody was told of.
    `read_log` checks every signature.

    Args:
        path: The file; created with the first line. Its folder must exist.
        key: Who signs the lines appended here.
        clock: For the time in each line.

    Attributes:
        tree: Over the lines that are durable.

    Raises:
        TrustError: A line was changed, moved or removed from the middle.
        StorageError: It cannot be read, or a newer release wrote it.
    """

    def __init__(self, path: Path, key: SigningKey, *, clock: Callable[[], datetime] = utc_now) -> None:
        self._path = path
        self._key = key
        self._clock = clock
        data = read_bytes(path) or b""
        lines, torn = split(data)
        entries = _chain(lines, {key.public.fingerprint: key.public}, str(path))
        self._size = sum(len(line) + 1 for line in lines)
        if torn:
            cut(path, self._size)
        self._last = entries[-1] if entries else None
        self.tree = Tree(lines)
        self._seen = {_name(entry.kind, entry.data): entry for entry in entries}

    def append(self, kind: str, data: Mapping[str, object]) -> LogEntry:
        """Sign one line and make it durable.

        Args:
            kind: What happened.
            data: JSON values without floats: numbers as integers or decimal strings.

        Raises:
            UsageError: There is a float, or something that is not JSON.
            StorageError: It is not durable, or another program wrote to the file.
        """
        return self._append(kind, [data])[-1]

    def of_kind(self, kind: str) -> list[Mapping[str, object]]:
        """What the lines of a kind say, in their order; equal ones once."""
        return [entry.data for entry in self._seen.values() if entry.kind == kind]

    def append_once(self, kind: str, data: Mapping[str, object]) -> LogEntry:
        """Append, unless a line of the same kind and data is there: for what is repeated after a crash."""
        return self._seen.get(_name(kind, _checked(data))) or self.append(kind, data)

    def append_new(self, kind: str, many: Iterable[Mapping[str, object]]) -> None:
        """Append those that are not there, all durable at once: a crash may leave the first few of them."""
        found = [(data, self._seen.get(_name(kind, _checked(data)))) for data in many]
        if new := [data for data, entry in found if entry is None]:
            self._append(kind, new)

    def _append(self, kind: str, many: Iterable[Mapping[str, object]]) -> list[LogEntry]:
        entries, last, time = [], self._last, timestamp(self._clock())
        for data in many:
            last = _sign(self._key, last, kind, time, data)
            entries.append(last)
        self._write(b"\n".join(entry.line for entry in entries))
        self._last = last
        for entry in entries:
            self.tree.append(entry.line)
            self._seen[_name(kind, entry.data)] = entry
        return entries

    def _write(self, line: bytes) -> None:
        with exclusive(self._path):
            found = self._path.stat().st_size
            if found != self._size:
                raise StorageError(
                    f"expected {self._size} bytes in {self._path}, found {found}",
                    advice="an earlier write ended half-way or another program wrote; open the log again",
                )
            append_line(self._path, line)
            if found == 0:
                sync_folder(self._path.parent)
        self._size += len(line) + 1


def read_log(path: Path, roster: Roster) -> tuple[LogEntry, ...]:
    """Read a log and verify all of it: each line is signed by a party of the roster and follows the one before.

    Raises:
        TrustError: A line was changed, moved, removed from the middle, is torn, or a stranger signed it.
        StorageError: There is no such file, or a newer release wrote it.
    """
    data = read_bytes(path)
    if data is None:
        raise StorageError(f"expected a study log at {path}, found none")
    lines, torn = split(data)
    if torn:
        raise TrustError(
            f"expected whole lines in {path}, found a torn last one",
            advice="resume the study that wrote it: opening the log for writing cuts the torn line off",
        )
    parties = [roster.coordinator_key, *roster.sites.values()]
    entries = _chain(lines, {key.fingerprint: key for key in parties}, str(path))
    for entry in entries:
        roster.name_of(entry.keyid)
    return tuple(entries)


def read_own_log(path: Path, key: PublicKey) -> tuple[LogEntry, ...]:
    """Read a log that one party writes for itself, while it may be writing.

    A torn last line is left out: nobody was told of it yet. Nothing is written.

    Returns:
        The lines; none where there is no file.

    Raises:
        TrustError: A line was changed, moved or removed from the middle, or somebody else signed it.
        StorageError: It cannot be read, or a newer release wrote it.
    """
    lines, _ = split(read_bytes(path) or b"")
    entries = _chain(lines, {key.fingerprint: key}, str(path))
    for entry in entries:
        if entry.keyid != key.fingerprint:
            raise TrustError(f"{path}, line {entry.seq + 1} was signed by another key than {key.short}")
    return tuple(entries)


def read_next(line: bytes, keys: Mapping[str, PublicKey], before: LogEntry | None, *, where: str) -> LogEntry:
    """Verify one further line of a log, for who follows it.

    Args:
        line: Without its newline.
        keys: Fingerprint of each party that may sign -> its key.
        before: The line before; None for the first.
        where: The log, for messages.

    Raises:
        TrustError: It was changed, does not follow the one before, or a stranger signed it.
        StorageError: A newer release wrote it.
    """
    entry = _read(line, keys, before, where)
    if entry.keyid not in keys:
        raise TrustError(f"{where}, line {entry.seq + 1}: key {entry.keyid[:16]} belongs to nobody known")
    return entry


def _sign(
    key: SigningKey, before: LogEntry | None, kind: str, time: str, data: Mapping[str, object]
) -> LogEntry:
    _check_json(dict(data))
    seq, prev = (before.seq + 1, before.hash) if before else (0, NOTHING_BEFORE)
    first = {} if before else header(FORMAT, VERSION)
    payload = canonical({**first, "seq": seq, "prev": prev, "kind": kind, "time": time, "data": dict(data)})
    line = wrap(key, LOG_DOMAIN, payload)
    return LogEntry(seq=seq, kind=kind, time=time, data=data, keyid=key.public.fingerprint, line=line)


def _chain(lines: list[bytes], keys: Mapping[str, PublicKey], where: str) -> list[LogEntry]:
    entries: list[LogEntry] = []
    for line in lines:
        entries.append(_read(line, keys, entries[-1] if entries else None, where))
    return entries


def _read(line: bytes, keys: Mapping[str, PublicKey], before: LogEntry | None, where: str) -> LogEntry:
    seq, prev = (before.seq + 1, before.hash) if before else (0, NOTHING_BEFORE)
    place = f"{where}, line {seq + 1}"
    payload, keyid, signature = unwrap(line, LOG_DOMAIN, where=place)
    if keyid in keys:
        keys[keyid].verify(LOG_DOMAIN, payload, signature)
    found = parse(payload, where=place)
    if not before:
        check_header(found, name=FORMAT, version=VERSION, where=where)
    exact_keys(found, _KEYS if before else _KEYS | {"format", "version"}, where=place)
    match found:
        case {"kind": str(kind), "time": str(time), "data": dict(data)}:
            if type(found["seq"]) is int and (found["seq"], found["prev"]) == (seq, prev):
                return LogEntry(seq=seq, kind=kind, time=time, data=data, keyid=keyid, line=line)
    raise TrustError(
        f"{place} does not follow the line before",
        advice="lines were changed, moved or removed; compare with another party's copy",
    )


def _name(kind: str, data: Mapping[str, object]) -> str:
    return digest(canonical([kind, dict(data)]))


def _checked(data: Mapping[str, object]) -> Mapping[str, object]:
    _check_json(dict(data))
    return data


def _check_json(value: object) -> None:
    match value:
        case None | bool() | int() | str():
            return
        case dict() if all(isinstance(name, str) for name in value):
            for item in value.values():
                _check_json(item)
        case list() | tuple():
            for item in value:
                _check_json(item)
        case _:
            raise UsageError(
                f"expected integers, strings, lists and objects in a log line, found a {type(value).__name__}",
                advice="write a decimal number as a string: repr(value)",
            )
