"""Pictures of reports as a real browser shows them: 400 and 1400 pixels wide, light and dark, for a person to look at.

Needs Debian's chromium (`apt-get install chromium`). Nothing is asserted: a person looks for labels that overlap and
for text that cannot be read. With no folder named, two small runs are made first.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

WIDTHS = (400, 1400)
PAGES = ("report.html", "model-card.html")
COLOURS = {"light": 1, "dark": 0}
HEIGHT = 14000
"""Tall enough for a report with nothing folded away; the browser cuts nothing off and leaves the rest empty."""


def main() -> int:
    """Take the pictures and name them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="*", type=Path, help="run folders; default: two small ones, made now")
    parser.add_argument("--out", type=Path, default=Path("runs/screenshots"))
    typed = parser.parse_args()
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        print("chromium was not found: apt-get install chromium", file=sys.stderr)
        return 1
    typed.out.mkdir(parents=True, exist_ok=True)
    for run in typed.runs or small_runs():
        for width in WIDTHS:
            for name, scheme in COLOURS.items():
                for page in (run / page for page in PAGES if (run / page).exists()):
                    picture = typed.out / f"{run.parent.name}-{run.name}-{page.stem}-{width}-{name}.png"
                    take(browser, page, picture, width, scheme)
                    print(picture)
    return 0


def take(browser: str, page: Path, picture: Path, width: int, scheme: int) -> None:
    """One picture of a page. A narrow page is shown in a frame: no browser window is narrower than 500 pixels."""
    with tempfile.TemporaryDirectory() as folder:
        # Whatever is folded away must be readable too.
        shown = Path(folder) / page.name
        shown.write_text(
            page.read_text(encoding="utf-8").replace("<details>", "<details open>"), encoding="utf-8"
        )
        frame = Path(folder) / "frame.html"
        frame.write_text(
            f'<meta name="color-scheme" content="light dark"><body style="margin:0">'
            f'<iframe src="{shown.as_uri()}" style="border:0;width:{width}px;height:{HEIGHT}px"></iframe>',
            encoding="utf-8",
        )
        words = [
            browser,
            "--headless",
            "--no-sandbox",
            "--hide-scrollbars",
            f"--blink-settings=preferredColorScheme={scheme}",
            f"--user-data-dir={folder}/profile",
            f"--window-size={max(width, 500)},{HEIGHT}",
            f"--screenshot={picture.resolve()}",
            frame.as_uri(),
        ]
        subprocess.run(words, check=True, capture_output=True, timeout=300)


def small_runs() -> list[Path]:
    """A binary and a survival study of the tests' table."""
    import os

    os.environ.setdefault("XDG_STATE_HOME", tempfile.mkdtemp())
    from tests.runs import open_run, survival_run

    return [open_run(), survival_run()]


if __name__ == "__main__":
    sys.exit(main())
