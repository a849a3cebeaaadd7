"""
What is uploaded to a package index: its files, its page, and that it works outside the checkout.

The sdist is made from the checkout and the wheel from the sdist; the wheel is installed into a fresh environment that sees the
packages of this one but not the checkout. So the sdist holds all that a build needs, and the wheel all that a run needs. Whether
the declared dependencies suffice is shown by tests/test_dependencies.py and by the job `build` of the workflow, which installs them anew.
"""

import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
import yaml

from rerank_plugin import __version__

PROJECT = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# Less than the 100 MB that the package index takes for a file.
MOST_BYTES = 95_000_000
KETTLE = "Vinegar dissolves the scale in a kettle within an hour."
BEANS = "Coffee beans keep best in an airtight jar."


def run(*command: object, **options) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def check_sdist(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", "pipelines/bm25_rerank.yaml"} <= names
    top = {name.partition("/")[0] for name in names} - {"", "PKG-INFO", ".gitignore"}
    assert sdist.stat().st_size < MOST_BYTES
    assert top == {"pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", "rerank_plugin", "pipelines", "sample_corpus"}


def check_wheel(wheel: Path) -> None:
    assert wheel.stat().st_size < MOST_BYTES
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = archive.read(f"rerank_plugin-{__version__}.dist-info/METADATA").decode()
    assert {"rerank_plugin/py.typed", "rerank_plugin/pipeline_files/indexing.yaml"} <= set(names)
    assert "rerank_plugin/sample_corpus/qrels/test.tsv" in names
    assert {f"rerank_plugin/serving/page/assets/page.{kind}" for kind in ("html", "js", "css")} <= set(names)
    assert [name for name in names if "__pycache__" in name or name.startswith("tests")] == []
    page = metadata.partition("\n\n")[2]
    relative = re.findall(r"\]\((?!https://|#)([^)]+)\)", page)
    assert relative == [], "links that lead nowhere on the page of a package index"


def fresh_environment(folder: Path, wheel: Path) -> Path:
    """Install the wheel without its dependencies, then let the environment see those of this one."""
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel)
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    # A path in a .pth file: the folder's own .pth files, such as the editable installation of the checkout, are not read.
    (Path(site) / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return folder / "bin"


@pytest.mark.slow
def test_u8_sdist_and_wheel_are_whole_and_work_in_a_fresh_environment(repository, tmp_path):
    dist = tmp_path / "dist"
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", dist, repository)
    (sdist,), (wheel,) = dist.glob("*.tar.gz"), dist.glob("*.whl")
    run(sys.executable, "-m", "twine", "check", "--strict", sdist, wheel)
    check_sdist(sdist)
    check_wheel(wheel)

    binaries = fresh_environment(tmp_path / "fresh", wheel)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "kettle.txt").write_text(KETTLE, encoding="utf-8")
    (tmp_path / "notes" / "beans.txt").write_text(BEANS, encoding="utf-8")

    def command(name: str, *arguments: object) -> str:
        return run(binaries / name, *arguments, cwd=tmp_path, env=environment)

    place = command("python", "-c", "import rerank_plugin; print(rerank_plugin.__file__)").strip()
    assert Path(place).is_relative_to(tmp_path / "fresh")
    assert __version__ in command("rerank", "--version")
    command("rerank", "index", "notes", "--pipeline", "indexing_keyword")
    hits = command("rerank", "search", "how do I get the scale out of my kettle", "--json")
    assert KETTLE in hits[: hits.index('rank": 2') if 'rank": 2' in hits else None]


def test_u9_the_declared_versions_of_python_agree():
    versions = {line.rpartition(" ")[2] for line in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", line)}
    workflow = yaml.safe_load((Path(__file__).parent.parent / ".github/workflows/test.yml").read_text(encoding="utf-8"))
    assert set(workflow["jobs"]["tests"]["strategy"]["matrix"]["python"]) == versions
    lowest = min(versions, key=lambda version: [int(part) for part in version.split(".")])
    assert PROJECT["requires-python"] == f">={lowest}"


def test_the_workflows_name_make_targets_that_exist(repository):
    makefile = (repository / "Makefile").read_text(encoding="utf-8")
    for file in (repository / ".github" / "workflows").glob("*.yml"):
        jobs = yaml.safe_load(file.read_text(encoding="utf-8"))["jobs"]
        commands = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
        targets = {target for command in commands for target in re.findall(r"^make ([\w-]+)", command)}
        assert targets
        assert [target for target in targets if not re.search(rf"^{target}:", makefile, flags=re.MULTILINE)] == []


def test_the_forms_and_hooks_are_valid_yaml(repository):
    files = [*(repository / ".github").rglob("*.yml"), repository / ".pre-commit-config.yaml"]
    assert len(files) >= 6
    for file in files:
        assert isinstance(yaml.safe_load(file.read_text(encoding="utf-8")), dict), file


def test_the_changelog_has_this_version(repository):
    text = (repository / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## \[{re.escape(__version__)}\] - \d{{4}}-\d\d-\d\d$", text, flags=re.MULTILINE)
    sections = re.findall(r"^### (.+)$", text, flags=re.MULTILINE)
    assert set(sections) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
