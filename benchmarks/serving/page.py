"""
How long after the API's answer the search page shows its first result, in a real browser.

    python benchmarks/serving/page.py BEIR_FOLDER [--documents 10000] [--queries 20] [--model FOLDER]

Each query is asked through `/search` and typed into the page, in turn, with 100 candidates. Scores are kept in memory and every query is
asked once before, so that what is measured is the page and not the model. In the page the time runs from Enter until the frame after the one in
which the first result stands. Also how long the page does not react while it shows results (its longest task).
Needs the extras `serve` and `dev`, and Chromium.
"""

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

import httpx
from promises import seconds, told

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests")]

from browser_fixtures import CHROMIUM, QUIET  # noqa: E402
from rerank_servers import local_engine, running  # noqa: E402

from rerank_plugin.collections.beir import BeirDataset  # noqa: E402
from rerank_plugin.indexing import index_paths  # noqa: E402
from rerank_plugin.scoring.loading.spec import DEFAULT_MODEL, resolve_model  # noqa: E402
from rerank_plugin.serving.page.settings import PageSettings  # noqa: E402
from rerank_plugin.serving.search_service import SearchService  # noqa: E402

# Milliseconds from Enter to the frame after the first result; the longest task meanwhile.
ASK = """query => new Promise(resolve => {
  const box = document.querySelector('input[type=search]');
  const results = document.querySelector('#results');
  let longest = 0;
  const tasks = new PerformanceObserver(list => list.getEntries().forEach(entry => { longest = Math.max(longest, entry.duration); }));
  tasks.observe({type: 'longtask'});
  box.value = query;
  const began = performance.now();
  const seen = new MutationObserver(() => {
    if (!results.querySelector('.is-second .title')) return;
    seen.disconnect();
    requestAnimationFrame(() => requestAnimationFrame(() => {
      const shown = performance.now() - began;
      setTimeout(() => { tasks.disconnect(); resolve([shown, longest]); }, 300);
    }));
  });
  results.replaceChildren();
  seen.observe(results, {childList: true, subtree: true});
  box.form.requestSubmit();
})"""


def main() -> None:
    """Index a collection, serve it, and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collection", type=Path)
    parser.add_argument("--documents", type=int, default=10_000)
    parser.add_argument("--queries", type=int, default=20)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    options = parser.parse_args()
    dataset = BeirDataset(options.collection)
    queries = [query.text for query in dataset.queries().values()][: options.queries]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        lines = dataset.corpus_file.read_bytes().splitlines()[: options.documents]
        (folder / "corpus.jsonl").write_bytes(b"\n".join(lines))
        index_paths([folder / "corpus.jsonl"], folder / "index", pipeline="indexing_keyword")
        yaml = (ROOT / "pipelines" / "bm25_rerank.yaml").read_text().replace(DEFAULT_MODEL, options.model)
        (folder / "kept.yaml").write_text(
            yaml.replace("fusion: log_linear", "score_cache: memory\n      fusion: log_linear")
        )
        service = SearchService(folder / "index", [str(folder / "kept.yaml")], max_waiting=20)
        engine = local_engine(Path(resolve_model(options.model)))
        with running({"default": engine}, keys=(), searches=service, page=PageSettings()) as url:
            rows = measure(url, queries)
    print(json.dumps(rows, indent=1))


def measure(url: str, queries: list[str]) -> dict[str, str]:
    """Ask every query through the API and through the page, in turn."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright, httpx.Client(timeout=600) as client:
        browser = playwright.chromium.launch(executable_path=CHROMIUM or shutil.which("chromium"), args=QUIET)
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.set_default_timeout(600_000)

        def ask(query: str) -> float:
            return seconds(lambda: client.post(f"{url}/search", json={"query": query, "top_k": 10}).raise_for_status())

        page.goto(f"{url}/")
        for query in queries:
            ask(query)
        page.evaluate(ASK, queries[0])
        api, shown, longest = [], [], []
        for query in queries:
            api.append(ask(query))
            milliseconds, task = page.evaluate(ASK, query)
            shown.append(milliseconds / 1000)
            longest.append(task / 1000)
        browser.close()
    later = [one - other for one, other in zip(shown, api, strict=True)]
    return {
        name: told(times) for name, times in (("API", api), ("page", shown), ("later", later), ("longest task", longest))
    }


if __name__ == "__main__":
    main()
