"""Folder names for sites: what a hospital calls itself may hold slashes, accents or nothing that a disk can keep."""

import re
import unicodedata
from collections.abc import Iterable


def folder_names(sites: Iterable[str]) -> list[str]:
    """Folder names for sites: plain letters, digits, dots and hyphens, distinct even where case is ignored.

    Example:
        >>> folder_names(["007", "Orléans / Sud", "orleans-sud", "../etc"])
        ['007', 'Orleans-Sud', 'orleans-sud-2', 'etc']
    """
    names: list[str] = []
    for site in sites:
        plain = unicodedata.normalize("NFKD", site).encode("ascii", "ignore").decode()
        base = re.sub(r"[^A-Za-z0-9.]+", "-", plain).strip("-.") or "site"
        used = {name.casefold() for name in names}
        candidates = (base, *(f"{base}-{number}" for number in range(2, len(names) + 3)))
        names.append(next(name for name in candidates if name.casefold() not in used))
    return names
