"""`rerank eval` from the command line: figures, report, runs beside pipelines, resuming, and mistakes."""

import json
import re
import shutil
import subprocess

import pytest
import pytrec_eval

from rerank_plugin.evaluation import read_run
from rerank_plugin.scoring.loading.spec import DEFAULT_MODEL


@pytest.fixture(scope="module")
def yaml(tmp_path_factory, repository, cross_encoder):
    """A two-stage pipeline with a small model."""
    file = tmp_path_factory.mktemp("yaml") / "tiny_rerank.yaml"
    file.write_text((repository / "pipelines" / "bm25_rerank.yaml").read_text().replace(DEFAULT_MODEL, str(cross_encoder)))
    return file


@pytest.fixture
def report(rerank, collection, yaml, tmp_path):
    """An evaluation of two pipelines and a run, and its output."""
    (tmp_path / "other.run").write_text("q1 Q0 d0 1 2 x\nq1 Q0 d1 2 1 x\nq9 Q0 d0 1 1 x\n")
    done = rerank(
        *("eval", collection, "--pipeline", "bm25", "--pipeline", yaml, "--run", f"peer={tmp_path / 'other.run'}"),
        *("--candidates", 12, "--output", tmp_path / "out"),
    )
    assert done.returncode == 0, done.stderr
    return tmp_path / "out", done


@pytest.mark.slow
def test_the_report_has_everything(report):
    folder, done = report
    results = json.loads((folder / "results.json").read_text())
    assert list(results["systems"]) == ["bm25", "tiny_rerank", "peer"]
    assert results["queries"] == 4
    assert results["systems"]["peer"]["measures"]["RR@10"] == pytest.approx(0.25)
    pairs = {(d["baseline"], d["system"]) for d in results["differences"]}
    assert pairs == {("bm25", "tiny_rerank"), ("bm25", "peer")}
    stages = {(row["system"], row["stage"]) for row in results["latencies"]}
    assert stages == {("bm25", "together"), *(("tiny_rerank", s) for s in ("first stage", "second stage", "together"))}
    (curve,) = results["depth_curves"]
    assert curve["depths"] == [5, 10, 12]
    assert all(below <= ceiling + 1e-9 for below, ceiling in zip(curve["reranked"], curve["ceiling"], strict=True))
    assert curve["reranked"][-1] == pytest.approx(results["systems"]["tiny_rerank"]["measures"]["nDCG@10"])
    text = (folder / "report.md").read_text()
    for part in ("## Quality", "## Differences in nDCG@10", "## Cost", "## Plots", "largest gains and losses", "peer"):
        assert part in text
    pictures = re.findall(r"\]\((plots/[^)]+)\)", text)
    assert len(pictures) >= 4
    assert all((folder / picture).stat().st_size > 5000 for picture in pictures)
    assert "peer answers 1 queries that have no judgements" in text
    assert "tiny_rerank" in done.stdout
    assert "p corr" in done.stdout
    (verdict,) = results["verdicts"]
    assert (verdict["system"], verdict["baseline"], verdict["word"]) == ("tiny_rerank", "bm25", "does not pay")
    assert verdict["text"] in done.stdout
    assert "## Does the second stage pay?" in text


@pytest.mark.slow
def test_trec_eval_gets_our_figures_from_our_files(report):
    folder, _ = report
    results = json.loads((folder / "results.json").read_text())
    with (folder / "qrels.txt").open() as file:
        evaluator = pytrec_eval.RelevanceEvaluator(pytrec_eval.parse_qrel(file), {"ndcg_cut.10"})
    for system in ("bm25", "tiny_rerank"):
        with (folder / "runs" / f"{system}.run").open() as file:
            theirs = evaluator.evaluate(pytrec_eval.parse_run(file))
        for query, value in results["systems"][system]["per_query"]["nDCG@10"].items():
            assert theirs[query]["ndcg_cut_10"] == pytest.approx(value, abs=1e-6)


@pytest.mark.slow
def test_the_page_loads_nothing_from_the_network(report):
    page = (report[0] / "report.html").read_text()
    assert "default-src 'none'" in page
    # URLs that a browser would fetch; XML namespaces are not.
    assert re.findall(r"(?:src|href|action|poster|data)=\"(?!#|data:)[^\"]*\"|url\((?!#)|@import|<script", page) == []
    assert page.count("<svg") == len(list((report[0] / "plots").glob("*.png")))
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs the browser chromium")
@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_shows_the_page_without_complaint(report, tmp_path, width):
    page = report[0] / "report.html"
    done = subprocess.run(
        [
            *("chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom"),
            *(f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},900", page.as_uri()),
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert "largest gains and losses" in done.stdout
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []


@pytest.mark.slow
def test_texts_cannot_break_the_page(rerank, tmp_path, collection):
    folder = tmp_path / "evil"
    shutil.copytree(collection, folder)
    queries = (folder / "queries.jsonl").read_text().replace("red fox", "<script>alert(1)</script> red | fox")
    (folder / "queries.jsonl").write_text(queries)
    (tmp_path / "x.run").write_text("q2 Q0 d9 1 2 x\n")
    done = rerank("eval", folder, "--pipeline", "bm25", "--run", tmp_path / "x.run", "--output", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "<script>" not in (tmp_path / "out" / "report.html").read_text()
    assert "<script>" not in (tmp_path / "out" / "report.md").read_text()


def test_runs_alone_need_no_collection(rerank, tmp_path):
    (tmp_path / "q.txt").write_text("q1 0 a 1\nq2 0 b 1\nq3 0 c 0\n")
    for name, best in (("one", "a"), ("two", "b")):
        (tmp_path / f"{name}.run").write_text(f"q1 Q0 {best} 1 2 x\nq2 Q0 b 1 2 x\n")
    runs = ["--run", tmp_path / "one.run", "--run", tmp_path / "two.run"]
    done = rerank("eval", "--qrels", tmp_path / "q.txt", *runs, "--measure", "RR", "-o", tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    assert [system["measures"] for system in results["systems"].values()] == [{"RR": 1.0}, {"RR": 0.5}]
    assert results["without_relevant"] == ["q3"]
    assert "1 judged queries have no relevant document" in (tmp_path / "out" / "report.md").read_text()
    assert read_run(tmp_path / "out" / "runs" / "two.run")["q1"] == {"b": 2.0}


@pytest.mark.slow
def test_a_failing_pipeline_is_reported_and_the_status_is_1(rerank, collection, tmp_path, repository):
    text = (repository / "pipelines" / "bm25.yaml").read_text()
    filters = "filters: {field: meta.x, operator: nonsense, value: 1}"
    (tmp_path / "bad.yaml").write_text(
        text.replace("init_parameters:\n      top_k", f"init_parameters:\n      {filters}\n      top_k")
    )
    out = tmp_path / "out"
    done = rerank("eval", collection, "--pipeline", "bm25", "--pipeline", tmp_path / "bad.yaml", "--output", out)
    assert done.returncode == 1
    assert "4 queries failed and count as 0; the first: bad, q1:" in done.stderr
    assert "bad failed on 4 queries, which count 0" in (out / "report.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{collection}", "--baseline", "nope"], "unknown baseline 'nope'"),
        (["{collection}", "--measure", "nDGC"], "unknown measure 'nDGC'"),
        (["{collection}", "--run", "{tmp}/none.run"], "none.run does not exist"),
        (["{collection}", "--run", "{tmp}/bad.run"], "bad.run, line 2"),
        (["{collection}", "--qrels", "{tmp}/bad.run"], "bad.run, line 1"),
        (["{collection}", "--run", "bm25={tmp}/good.run", "--pipeline", "bm25"], "two systems have the same name"),
        (["--run", "{tmp}/good.run"], "pass the file with --qrels"),
        ([], "nothing to evaluate"),
        (["{tmp}/none"], "none"),
        (["{collection}", "--grid", "candidates=5"], "pass both"),
        (["{collection}", "--sweep", "--grid", "depth=5"], "--grid 'depth=5': write NAME=VALUE"),
        (["{collection}", "--sweep", "--grid", "candidates=0"], "whole numbers from 1"),
        (["{collection}", "--sweep", "--grid", "fusion=linear"], "fusion 'linear': write none, or METHOD:WEIGHT"),
        (["{collection}", "--sweep", "--pipeline", "bm25"], "no CrossEncoderRanker as second stage: nothing can be varied"),
        (["{collection}", "--sweep", "--pipeline", "bm25", "--pipeline", "dense"], "one --pipeline"),
    ],
)
def test_a_mistake_gets_one_line_and_nothing_is_written(rerank, collection, tmp_path, arguments, message):
    (tmp_path / "good.run").write_text("q1 Q0 d0 1 2 x\n")
    (tmp_path / "bad.run").write_text("q1 Q0 d0 1 2 x\nq1 Q0\n")
    filled = [argument.format(collection=collection, tmp=tmp_path) for argument in arguments]
    done = rerank("eval", *filled, "--output", tmp_path / "out")
    assert done.returncode == 1
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert message in lines[0]
    assert not (tmp_path / "out").exists()
