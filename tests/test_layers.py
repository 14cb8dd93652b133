"""Who may import whom, and which calls are never made. Read from the source text; nothing is imported.

Each rule is a function from one parsed module to the reasons why it is broken. The planted texts below show
that every rule can fail.
"""

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROLES = ("common", "client", "server", "simulations")
BELOW = {
    "common": {"common"},
    "client": {"common", "client"},
    "server": {"common", "server"},
    "simulations": {"common", "client", "server", "simulations"},
    "wardround": {"common", "client", "server", "simulations", "wardround"},
}
TORCH = (
    "common.learning",
    "client.clipping",
    "client.rowlayers",
    "client.rowwise",
    "client.training",
    "client.evaluation",
    "client.predict",
    "simulations",
)
FLOWER = (
    "common.flower",
    "client.app",
    "server.app",
    "server.strategy",
    "server.reminding",
    "server.rollcall",
    "server.waiting",
    "simulations.conformancesite",
    "simulations.grid",
    "simulations.federation",
    "simulations.ray_backend",
)
PUBLIC_FLOWER = ("flwr.app", "flwr.serverapp", "flwr.clientapp", "flwr.simulation")
HOMES = {
    "torch": TORCH,
    "captum": ("common.learning.attribution",),
    "opacus": (*TORCH, "common.privacy.accounting"),
    "flwr": FLOWER,
    "ray": ("simulations.ray_backend",),
}
HEAVY = ("torch", "opacus", "captum", "pandas", "flwr", "ray", "matplotlib", "sklearn", "scipy", "pyarrow")
EXPLICIT_NUMPY = {"Generator", "BitGenerator", "PCG64", "Philox", "SeedSequence", "default_rng"}
EXPLICIT_PYTHON = {"Random", "SystemRandom"}
TORCH_DRAWS = {"rand", "randn", "randint", "randperm", "normal", "bernoulli", "multinomial", "poisson"}
TORCH_DRAWS |= {f"{name}_like" for name in ("rand", "randn", "randint")}
TORCH_STATE = (
    "torch.manual_seed",
    "torch.seed",
    "torch.set_rng_state",
    "torch.random.manual_seed",
    "torch.random.seed",
    "torch.random.set_rng_state",
    "torch.cuda.manual_seed",
)

Rule = Callable[[str, ast.Module], Iterator[str]]


def inside(module: str, homes: tuple[str, ...]) -> bool:
    """Whether a module is one of the homes or below one."""
    return any(module == home or module.startswith(f"{home}.") for home in homes)


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything imported anywhere in a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def at_import_time(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """The same, only for statements that run when the module is imported."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield from imported(node)


def dotted(node: ast.expr) -> str:
    """`a.b.c` of a plain chain of names, or nothing."""
    if isinstance(node, ast.Attribute):
        owner = dotted(node.value)
        return owner and f"{owner}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def calls(tree: ast.Module) -> Iterator[tuple[ast.Call, str]]:
    """Every call of something imported, with its full dotted name. A local `random` is not the module."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {
                a.asname or a.name.split(".")[0]: a.name if a.asname else a.name.split(".")[0]
                for a in node.names
            }
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (name := dotted(node.func)):
            head, _, rest = name.partition(".")
            if head in names:
                yield node, ".".join(filter(None, (names[head], rest)))


def arrows_point_down(module: str, tree: ast.Module) -> Iterator[str]:
    """Imports go down: common, then client or server, then simulations, then the front door."""
    role = module.split(".")[0]
    for line, name in imported(tree):
        head, _, rest = name.partition(".")
        target = rest.split(".")[0] if rest.split(".")[0] in ROLES else "wardround"
        if head == "wardround" and target not in BELOW[role]:
            yield f"{module}:{line} {role} imports {name}"


def imports_are_absolute(module: str, tree: ast.Module) -> Iterator[str]:
    """No relative imports, and no role folder as a top-level name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            yield f"{module}:{node.lineno} relative import"
    for line, name in imported(tree):
        if name.split(".")[0] in ROLES:
            yield f"{module}:{line} imports {name} without wardround."


def libraries_stay_home(module: str, tree: ast.Module) -> Iterator[str]:
    """Torch, Opacus, Flower and Ray only where the plan says."""
    for line, name in imported(tree):
        homes = HOMES.get(name.split(".")[0])
        if homes is not None and not inside(module, homes):
            yield f"{module}:{line} imports {name}"


def flower_internals_have_one_home(module: str, tree: ast.Module) -> Iterator[str]:
    """Names that Flower does not promise are used in files of one name, so that an upgrade fails in one place."""
    for line, name in imported(tree):
        private = name.split(".")[0] == "flwr" and not inside(name, PUBLIC_FLOWER)
        if private and not module.startswith("common.flower.internals"):
            yield f"{module}:{line} imports {name}"


def randomness_is_an_argument(module: str, tree: ast.Module) -> Iterator[str]:
    """No shared generator, seeded or drawn from, outside simulations."""
    if inside(module, ("simulations",)):
        return
    for call, name in calls(tree):
        last = name.rpartition(".")[2]
        keywords = {keyword.arg for keyword in call.keywords}
        if (
            (name.startswith("numpy.random.") and name.split(".")[2] not in EXPLICIT_NUMPY)
            or (name.startswith("random.") and last not in EXPLICIT_PYTHON)
            or name.startswith(TORCH_STATE)
            or (name == f"torch.{last}" and last in TORCH_DRAWS and "generator" not in keywords)
        ):
            yield f"{module}:{call.lineno} calls {name}"


def no_assert_guards_anything(module: str, tree: ast.Module) -> Iterator[str]:
    """`python -O` removes assert statements, and with them whatever they guarded."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assert):
            yield f"{module}:{node.lineno} assert"


def commands_start_fast(module: str, tree: ast.Module) -> Iterator[str]:
    """The front door and every `..commands` module import heavy libraries only inside functions."""
    if module.split(".")[0] != "wardround" and not module.endswith("commands"):
        return
    for line, name in at_import_time(tree):
        if name.split(".")[0] in HEAVY:
            yield f"{module}:{line} imports {name} when it is imported"


RULES: tuple[Rule, ...] = (
    arrows_point_down,
    imports_are_absolute,
    libraries_stay_home,
    flower_internals_have_one_home,
    randomness_is_an_argument,
    no_assert_guards_anything,
    commands_start_fast,
)

PLANTED: tuple[tuple[Rule, str, str], ...] = (
    (arrows_point_down, "common.trust.ledger", "from wardround.client import policy"),
    (arrows_point_down, "common.checks", "import wardround.server.coordinator"),
    (arrows_point_down, "client.site", "def f():\n    from wardround.server.coordinator import Coordinator"),
    (arrows_point_down, "server.coordinator", "from wardround.client.cohort import Cohort"),
    (arrows_point_down, "server.coordinator", "from wardround import client"),
    (arrows_point_down, "client.site", "import wardround.simulations.run"),
    (arrows_point_down, "simulations.run", "from wardround.api import simulate"),
    (arrows_point_down, "common.checks", "import wardround"),
    (imports_are_absolute, "client.site", "from .cohort import Cohort"),
    (imports_are_absolute, "client.site", "from common.errors import TrustError"),
    (imports_are_absolute, "client.site", "import server"),
    (libraries_stay_home, "common.trust.envelope", "import torch"),
    (libraries_stay_home, "client.policy", "from torch.nn import functional as F"),
    (libraries_stay_home, "client.site", "import opacus"),
    (libraries_stay_home, "client.answers", "from captum.attr import IntegratedGradients"),
    (libraries_stay_home, "server.coordinator", "from flwr.app import Message"),
    (libraries_stay_home, "simulations.run", "import ray"),
    (flower_internals_have_one_home, "server.app", "from flwr.common import Context"),
    (flower_internals_have_one_home, "common.flower.records", "import flwr.supercore.task"),
    (flower_internals_have_one_home, "common.flower.serving", "from flwr.superlink.grid import HttpGrid"),
    (randomness_is_an_argument, "client.training", "import numpy as np\nnp.random.seed(1)"),
    (randomness_is_an_argument, "client.training", "from numpy import random\nrandom.normal()"),
    (randomness_is_an_argument, "client.training", "from numpy.random import rand\nrand(3)"),
    (randomness_is_an_argument, "client.training", "import torch\ntorch.manual_seed(1)"),
    (randomness_is_an_argument, "client.training", "import torch as t\nt.random.manual_seed(1)"),
    (randomness_is_an_argument, "client.training", "import torch\ntorch.randn(3)"),
    (randomness_is_an_argument, "client.site", "import random\nrandom.random()"),
    (randomness_is_an_argument, "client.site", "from random import shuffle\nshuffle([1])"),
    (no_assert_guards_anything, "client.release", "def f(x):\n    assert x"),
    (commands_start_fast, "wardround.cli", "import torch"),
    (commands_start_fast, "client.commands", "try:\n    import pandas\nexcept ImportError:\n    pass"),
)

ALLOWED: tuple[tuple[str, str], ...] = (
    (
        "client.site",
        "from wardround.common.errors import TrustError\nfrom wardround.client.policy import SitePolicy",
    ),
    ("client.training", "import torch\nimport opacus\ng = torch.Generator()\ntorch.randn(3, generator=g)"),
    ("server.app", "from flwr.serverapp import ServerApp"),
    ("common.flower.internals", "from flwr.common.task import TaskIdentity"),
    ("client.cohort", "import numpy as np\nnp.random.default_rng(1).normal()"),
    ("wardround.cli", "def main():\n    import pandas\n    from wardround.server import commands"),
    ("client.training", "def f(random):\n    random.gaussian(3)"),
    ("simulations.published", "import torch\ntorch.manual_seed(42)"),
)


def sources() -> list[tuple[str, Path]]:
    """Every shipped module, as a dotted name below the package, and its file."""
    files = [path for top in (*ROLES, "wardround") for path in sorted((ROOT / top).rglob("*.py"))]
    return [(path.relative_to(ROOT).with_suffix("").as_posix().replace("/", "."), path) for path in files]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_module_keeps_the_rule(rule: Rule) -> None:
    found = sources()
    assert len(found) > 20
    broken = [why for name, path in found for why in rule(name, ast.parse(path.read_text(encoding="utf-8")))]
    assert broken == []


@pytest.mark.parametrize(("rule", "module", "text"), PLANTED)
def test_a_planted_violation_is_found(rule: Rule, module: str, text: str) -> None:
    assert list(rule(module, ast.parse(text)))


@pytest.mark.parametrize(("module", "text"), ALLOWED)
def test_what_the_plan_allows_is_not_reported(module: str, text: str) -> None:
    assert [why for rule in RULES for why in rule(module, ast.parse(text))] == []
