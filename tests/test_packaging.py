"""The wheel carries every module and data file and nothing else; an auditor's modules need no heavy library.

An editable install cannot show either: it imports whatever lies in the checkout.
"""

import json
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from wardround.common.code import package_digest, wheel_digest
from wardround.common.errors import StorageError

ROOT = Path(__file__).resolve().parent.parent
ROLES = ("common", "client", "server", "simulations")
DATA = (".toml", ".html", ".css", ".typed")

# Runs in its own interpreter: drops the editable install and says where each module came from.
IMPORT_ALL = """
import importlib, json, sys
sys.meta_path = [f for f in sys.meta_path if "editable" not in getattr(f, "__module__", "") + repr(f)]
sys.path.insert(0, sys.argv[1])
print(json.dumps({n: getattr(importlib.import_module(n), "__file__", None) for n in json.loads(sys.argv[2])}))
"""

# Refuses the named libraries, then imports the modules.
IMPORT_WITHOUT = """
import importlib, sys
class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in sys.argv[1].split(","):
            raise ImportError(f"{name} is not in the base install")
sys.meta_path.insert(0, Refused())
for name in sys.argv[2].split(","):
    importlib.import_module(name)
"""

# What an auditor runs: the trust layer, the reader of protocols, accounting, and the study's arithmetic once more.
BASE = (
    "wardround.common.errors",
    "wardround.common.formats",
    "wardround.common.code",
    "wardround.common.durable",
    "wardround.common.study.reader",
    "wardround.common.study.protocol",
    "wardround.common.privacy.events",
    "wardround.common.privacy.terms",
    "wardround.common.privacy.accounting",
    "wardround.common.trust.identity",
    "wardround.common.trust.envelope",
    "wardround.common.trust.ledger",
    "wardround.common.trust.studylog",
    "wardround.common.trust.sumround",
    "wardround.common.learning.study",
    "wardround.common.audit.commands",
    "wardround.common.audit.foreignclaims",
    "wardround.common.audit.verify",
    "wardround.common.audit.page",
)
HEAVY = "torch,opacus,flwr,pandas,pyarrow,ray,matplotlib,sklearn,jinja2"


def copy_of_the_checkout(to: Path) -> Path:
    """What a build needs, without what earlier builds left behind."""
    leave = shutil.ignore_patterns("__pycache__", "*.egg-info", "*.pyc")
    for name in ("wardround", *ROLES):
        shutil.copytree(ROOT / name, to / name, ignore=leave)
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy2(ROOT / name, to / name)
    return to


def shipped(suffixes: tuple[str, ...]) -> set[str]:
    """Files of the tree as they are named in the wheel."""
    found = {p for top in ("wardround", *ROLES) for p in (ROOT / top).rglob("*") if p.suffix in suffixes}
    names = {path.relative_to(ROOT).as_posix() for path in found}
    return {name if name.startswith("wardround/") else f"wardround/{name}" for name in names}


def run(*command: str | Path) -> str:
    """Run this interpreter, isolated from the working folder and the user's settings."""
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = copy_of_the_checkout(tmp_path_factory.mktemp("source"))
    out = tmp_path_factory.mktemp("wheel")
    run("-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", out, source)
    (path,) = out.glob("*.whl")
    return path


def test_the_wheel_carries_every_module_and_data_file_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        notes = [name for name in archive.namelist() if name.endswith("entry_points.txt")]
        assert "wardround = wardround.cli:main" in archive.read(notes[0]).decode()
    assert names == shipped((".py", *DATA))
    assert len(names) > 30


def test_every_module_imports_from_the_wheel(wheel: Path, tmp_path: Path) -> None:
    run("-m", "pip", "install", "--quiet", "--no-deps", "--target", tmp_path, wheel)
    assert {path.name for path in tmp_path.iterdir() if path.suffix != ".dist-info"} <= {"wardround", "bin"}
    paths = (Path(name) for name in shipped((".py",)) if not name.endswith("__main__.py"))
    modules = sorted({".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in paths})
    found = json.loads(run("-I", "-c", IMPORT_ALL, tmp_path, json.dumps(modules)).splitlines()[-1])
    assert [name for name, file in found.items() if not str(file).startswith(str(tmp_path))] == []
    assert sorted(found) == modules


def test_a_wheel_has_the_code_digest_of_what_it_installs(wheel: Path, tmp_path: Path) -> None:
    assert wheel_digest(wheel) == package_digest()
    changed = tmp_path / "changed.whl"
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(changed, "w") as target:
        for name in source.namelist():
            extra = b"#" if name == "wardround/client/release.py" else b""
            target.writestr(name, source.read(name) + extra)
    assert wheel_digest(changed) != wheel_digest(wheel)
    with pytest.raises(StorageError, match="as a wheel"):
        wheel_digest(ROOT / "README.md")


def test_the_auditors_modules_need_no_heavy_library() -> None:
    run("-c", IMPORT_WITHOUT, HEAVY, ",".join(BASE))


def test_the_refusal_of_heavy_libraries_works() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_WITHOUT, HEAVY, "pandas"], capture_output=True, text=True, check=False
    )
    assert "pandas is not in the base install" in done.stderr


def test_every_pinned_package_is_pinned_once_and_the_declared_ones_are_pinned() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [
        line.partition("==")[0].lower().replace("_", "-") for line in lines if "==" in line and line[0] != "#"
    ]
    assert len(pins) == len(set(pins))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = [
        *project["dependencies"],
        *(r for extra in project["optional-dependencies"].values() for r in extra),
    ]
    names = {
        "".join(c if c.isalnum() or c == "-" else " " for c in text).split()[0].lower() for text in declared
    }
    assert names - {"wardround"} - set(pins) == set()
