"""docs/predict.md: what it shows is what happens."""

from pathlib import Path

import pytest
from tests.test_readme import BLOCK, follow

PAGE = Path(__file__).resolve().parent.parent / "docs" / "predict.md"


@pytest.mark.long
def test_every_marked_block_of_the_page_runs(tmp_path: Path) -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text.count("<!-- run -->") == len(BLOCK.findall(text)) == 3
    assert follow(text, tmp_path) == 5
