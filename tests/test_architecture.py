"""The architecture rules: imports point down only, and heavy libraries are imported only where allowed."""

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "rerank_plugin"

# A module may import from its own layer's package and from lower layers.
LAYERS = [
    {"cli", "__main__"},
    {"scale"},
    {"training", "evaluation", "indexing", "serving"},
    {"judgements"},
    {"agents", "search", "results", "rank_texts"},
    {"pipelines"},
    {"components"},
    {"scoring", "store"},
    {"collections"},
    {"files", "checks", "locks", "progress", "sentences", "quiet"},
    {"errors"},
]
# Packages of one layer that must not import each other.
STRANGERS = [("scoring", "store"), ("store", "scoring"), ("evaluation", "training")]
HOMES = {
    "pypdfium2": {f"components/converters/{name}.py" for name in ("pdf", "pdf_text")},
    "docx": {"components/converters/docx.py"},
    "pptx": {"components/converters/pptx.py"},
    "openpyxl": {"components/converters/xlsx.py"},
    "docutils": {f"components/converters/{name}.py" for name in ("rst", "rst_inline")},
    "faiss": {f"store/vectors/{name}.py" for name in ("flat", "kinds", "trained", "files")},
    "tantivy": {f"store/keywords/{name}.py" for name in ("tantivy_index", "tantivy_search")},
    "rank_bm25": {"store/keywords/rank_bm25_index.py"},
    "openvino": {"scoring/backends/openvino_backend.py"},
    "nncf": {"scoring/backends/int8.py"},
    "onnxruntime": {"scoring/backends/onnx_backend.py"},
    "typer": {
        f"cli/{name}.py"
        for name in (
            "app",
            "searching",
            "copying",
            "serving",
            "mcp",
            "batch",
            "judging",
            "evaluating",
            "measuring",
            "learning",
            "adapting",
            "recipe_options",
            "printing",
        )
    },
}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def imports(path: Path) -> set[str]:
    """Every module that a file imports, also inside functions and for type checking."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def layer(part: str) -> int:
    return next(i for i, parts in enumerate(LAYERS) if part in parts)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path):
    part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if part == "__init__":
        return  # the lazy names
    for module in imports(path):
        package, _, rest = module.partition(".")
        if package != "rerank_plugin" or not rest:
            continue
        other = rest.split(".")[0]
        assert layer(other) >= layer(part), f"{path} imports {module}"
        assert (part, other) not in STRANGERS, f"{path} imports {module}"


def dependencies() -> dict[str, set[str]]:
    """Which files of the package import which others, also inside functions and for type checking."""
    names = {
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
        for path in modules()
    }
    found: dict[str, set[str]] = {}
    for name, path in names.items():
        targets = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                targets |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                # `from package import name` may mean a module of the package, or a name in its __init__.
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                targets |= {target if target in names else node.module for target in inner}
        found[name] = {target for target in targets if target in names and target != name}
    return found


@pytest.mark.slow
def test_no_circle_between_any_two_files():
    order = TopologicalSorter(dependencies())
    try:
        order.prepare()
    except CycleError as error:
        pytest.fail(f"these files import each other in a circle: {' -> '.join(error.args[1])}")


@pytest.mark.slow
@pytest.mark.parametrize("library", HOMES)
def test_a_heavy_library_stands_in_its_own_file(library):
    users = {
        str(path.relative_to(PACKAGE)) for path in modules() if library in {name.split(".")[0] for name in imports(path)}
    }
    assert users == HOMES[library]


def test_scoring_does_not_import_haystack():
    users = [path for path in (PACKAGE / "scoring").rglob("*.py") if any(m.startswith("haystack") for m in imports(path))]
    assert users == []


@pytest.mark.slow
def test_the_package_logs_by_the_standard_library_and_leaves_the_set_up_to_the_program():
    """Two files silence the logger of another library for what they do with it; the command line alone adds a handler."""
    others, set_up = [], set()
    for path in modules():
        name = str(path.relative_to(PACKAGE))
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "haystack":
                others += [name for alias in node.names if "logging" in (alias.name, node.module.rpartition(".")[2])]
            called = node.func if isinstance(node, ast.Call) else None
            if isinstance(called, ast.Attribute) and called.attr in ("basicConfig", "dictConfig", "setLevel", "addHandler"):
                set_up.add(name)
    assert others == []
    assert set_up == {"cli/progress.py", "evaluation/bench/systems.py", "scoring/backends/int8.py"}


def test_no_file_is_too_long():
    assert [path.name for path in modules() if len(path.read_text(encoding="utf-8").splitlines()) > 400] == []


@pytest.mark.parametrize("statement", ["import rerank_plugin.cli", "import rerank_plugin, rerank_plugin.errors"])
def test_light_modules_load_nothing_heavy(statement):
    heavy = {"torch", "faiss", "haystack", "sentence_transformers", "transformers", "tantivy", "openvino", "numpy"}
    code = f"import sys; {statement}; print({heavy!r} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"


def test_help_loads_nothing_heavy():
    code = (
        "import sys\n"
        "from rerank_plugin.cli import app\n"
        "try: app(['--help'], standalone_mode=False)\n"
        "finally: print({'torch', 'faiss', 'haystack', 'sentence_transformers'} & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "set()"
    assert all(command in done.stdout for command in ("index", "search", "eval", "train"))
