"""What the README shows is what happens.

A fenced block after the line `<!-- run -->` is executed, in order, in one folder for the whole file. A
`python` block must run without an error. In a `console` block each line that starts with `$ ` must exit with
0, and the lines below it must be its output; `...` stands for anything.
"""

import doctest
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"^<!-- run -->\n+```(python|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
LONGEST_S = 300


def steps(text: str) -> list[tuple[list[str], str]]:
    """The commands of all marked blocks, each with the output it should have."""
    found = []
    for language, body in BLOCK.findall(text):
        if language == "python":
            found.append(([sys.executable, "-c", body], ""))
            continue
        for part in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            found.append((["sh", "-e", "-c", command], output))
    return found


def follow(text: str, folder: Path) -> int:
    """Run all marked blocks in a folder and say how many commands ran."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {
        **os.environ,
        "PATH": path,
        "COLUMNS": "100",
        "TERM": "dumb",
        "NO_COLOR": "1",
    }
    for command, expected in steps(text):
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=LONGEST_S,
        )
        assert done.returncode == 0, f"{command[-1]}\n{done.stdout}\n{done.stderr}"
        if expected.strip():
            # Progress and remarks go to standard error; a block may show them above the result or leave them out.
            check = doctest.OutputChecker().check_output
            shown = (done.stdout, done.stderr + done.stdout)
            matches = any(check(expected, found, OPTIONS) for found in shown)
            assert matches, f"{command[-1]}\nexpected:\n{expected}\nfound:\n{done.stderr}{done.stdout}"
    return len(steps(text))


@pytest.mark.long
def test_every_marked_block_of_the_readme_runs(tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text.count("<!-- run -->") == len(BLOCK.findall(text)) > 0
    assert follow(text, tmp_path) > 0


@pytest.mark.parametrize(
    "block",
    ["```console\n$ false\n```", "```console\n$ echo yes\nno\n```", "```python\nraise SystemExit(3)\n```"],
)
def test_a_block_that_does_not_hold_is_found(block: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        follow(f"<!-- run -->\n{block}\n", tmp_path)


def test_blocks_share_one_folder_and_output_may_be_shortened(tmp_path: Path) -> None:
    text = "<!-- run -->\n```python\nopen('a', 'w').write('one two three')\n```\n"
    text += "<!-- run -->\n```console\n$ cat a\none ... three\n```\n```console\n$ false\n```\n"
    assert follow(text, tmp_path) == 2
