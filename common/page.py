"""What all pages that we write share: one style sheet, and the rule that nothing on them runs or loads anything."""

from pathlib import Path
from typing import Final

STYLE: Final = Path(__file__).with_name("page_style.css")
"""Inlined into every page; a page needs no network."""
