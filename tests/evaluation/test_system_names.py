"""Names of systems become file names: none may lead out of the report's folder or collide with another's file."""

import json

import pytest

from rerank_plugin.errors import InvalidValueError, PipelineConfigError
from rerank_plugin.evaluation.request import EvalRequest, check_request, check_system_names

REFUSED = [
    "../x",
    "..",
    ".",
    "",
    "   ",
    "/etc/passwd",
    "a/b",
    "a\\b",
    "C:x",
    "x" * 300,
    "ж" * 150,
    "a\nb",
    "a\tb",
    "a\x00b",
    "a\x1b[2J",
    "a\u202eb",
    "a\u2028b",
    "\ud800",
]


@pytest.mark.parametrize("name", REFUSED)
def test_s4_a_name_that_cannot_be_a_file_name_is_refused(name):
    with pytest.raises(InvalidValueError) as error:
        check_system_names([name])
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 400


@pytest.mark.parametrize(
    ("one", "other"), [("a", "a"), ("BM25", "bm25"), ("caf\u00e9", "cafe\u0301"), ("straße", "STRASSE")]
)
def test_s4_names_that_are_the_same_file_somewhere_are_the_same_name(one, other):
    with pytest.raises(InvalidValueError, match="two systems have the same name"):
        check_system_names([one, other])


def test_usual_names_are_allowed():
    check_system_names(["bm25", "bm25_rerank", "ours (v1.2), k=10", "_hidden", "поиск", "a$b$", "x" * 200])


@pytest.mark.parametrize("name", ["../x", "/tmp/x", "", "x" * 300, "a\x1bb", "a/../../b"])
def test_s4_a_run_cannot_write_outside_the_report(rerank, tmp_path, name):
    (tmp_path / "q.txt").write_text("q1 0 a 1\n")
    (tmp_path / "one.run").write_text("q1 Q0 a 1 2 x\n")
    before = sorted(tmp_path.rglob("*"))
    done = rerank(
        *("eval", "--qrels", tmp_path / "q.txt", "--run", f"{name}={tmp_path / 'one.run'}", "-o", tmp_path / "deep" / "out")
    )
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert "name" in done.stderr
    assert [path for path in sorted(tmp_path.rglob("*")) if path.name != "deep"] == before


def test_two_runs_with_the_same_name_are_an_error(rerank, tmp_path):
    (tmp_path / "q.txt").write_text("q1 0 a 1\n")
    (tmp_path / "x.run").write_text("q1 Q0 a 1 2 x\n")
    done = rerank("eval", "--qrels", tmp_path / "q.txt", *(2 * ["--run", tmp_path / "x.run"]), "-o", tmp_path / "out")
    assert done.returncode == 1
    assert "two systems have the same name" in done.stderr


@pytest.mark.slow
def test_names_that_matplotlib_would_read_as_formulas_are_shown_as_they_are(rerank, tmp_path):
    (tmp_path / "q.txt").write_text("q1 0 a 1\nq2 0 b 1\n")
    for file, best in (("one", "a"), ("two", "b")):
        (tmp_path / f"{file}.run").write_text(f"q1 Q0 {best} 1 2 x\nq2 Q0 b 1 2 x\n")
    names = ["a$\\frac$".replace("\\", ""), "_hidden"]
    runs = [
        part for name, file in zip(names, ("one", "two"), strict=True) for part in ("--run", f"{name}={tmp_path / file}.run")
    ]
    done = rerank("eval", "--qrels", tmp_path / "q.txt", *runs, "-o", tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    assert list(json.loads(done.stdout)["systems"]) == names
    assert sorted(file.stem for file in (tmp_path / "out" / "runs").iterdir()) == sorted(names)


@pytest.mark.parametrize("source", ["../pipelines/bm25", "x" * 300, "a\x00b", ""])
def test_s4_a_pipeline_is_a_name_or_a_yaml_file(source):
    with pytest.raises(PipelineConfigError, match="unknown pipeline"):
        check_request(EvalRequest("folder", pipelines=[source]))


def test_s4_a_pipeline_file_of_a_strange_name_is_refused(rerank, collection, repository, tmp_path):
    file = tmp_path / "a\nb.yaml"
    file.write_text((repository / "pipelines" / "bm25.yaml").read_text())
    done = rerank("eval", collection, "--pipeline", file, "-o", tmp_path / "out")
    assert done.returncode == 1
    assert "the name 'a\\nb' of a system" in done.stderr
    assert not (tmp_path / "out").exists()
