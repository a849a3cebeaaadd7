"""
Compare HybridDocumentStore with faiss-haystack and Haystack's InMemoryDocumentStore, in one run, at growing sizes.

    python benchmarks/store/run.py BEIR_FOLDER [--sizes 10000 100000 1000000] [--output FOLDER]

Every measurement runs in its own process. faiss-haystack requires numpy below 2, so it gets its own virtual environment, created
here with pip. Writes `results.json`, `table.md` and `growth.png` (needs matplotlib) into the output folder. A million passages take
about a quarter of an hour and 8 GB of disk.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

HERE = Path(__file__).parent
PEER = "faiss-haystack==3.0.0"
KINDS = ("flat", "hnsw", "hnsw_sq8", "ivf", "ivf_sq8")
COLUMNS = (
    "write s",
    "commit s",
    "1,000 more s",
    "1,000 deleted s",
    "disk MB",
    "open s",
    "first dense s",
    "first keyword s",
    "MB peak",
    "dense median ms",
    "dense p95 ms",
    "recall@100",
    "filtered median ms",
    "filtered hits of 10",
    "filtered recall@10",
    "keyword median ms",
    "keyword p95 ms",
    "filtered keyword median ms",
)
Results = list[dict[str, object]]


def python_of_peer(folder: Path) -> str:
    """Create an environment with the peer, and return its interpreter."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", PEER], check=True)
    return str(python)


def measure(python: str, store: str, passages: int, options: argparse.Namespace) -> dict[str, object]:
    """Write and search a collection with a store."""
    figures: dict[str, object] = {"store": store, "passages": passages}
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        for step in ("search",) if store == "in_memory" else ("write", "search"):
            arguments = [store, step, folder, options.dataset, options.work / "vectors.npz", passages, options.queries]
            command = [python, str(HERE / "stores.py"), *map(str, arguments)]
            done = subprocess.run(command, check=False, capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
            figures |= json.loads(done.stdout.splitlines()[-1])
    print(json.dumps(figures), flush=True)
    return figures


def table(results: Results) -> str:
    """Return the results as Markdown: a column for each measurement."""
    lines = ["| | " + " | ".join(f"{r['store']}, {r['passages']:,}" for r in results) + " |"]
    lines.append("| --- |" + " ---: |" * len(results))
    for name in COLUMNS:
        cells = (
            f"{r[name]:.3g}" if name in r and r[name] < 1000 else f"{r[name]:,.0f}" if name in r else "" for r in results
        )
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def plot(results: Results, file: Path) -> None:
    """Plot growth curves: build time, query time, memory."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    panels = {
        "write and commit, s": {"write s", "commit s"},
        "keyword query, top 100, median ms": {"keyword median ms"},
        "dense query, top 100, median ms": {"dense median ms"},
        "memory of a process that searches, MB": {"MB peak"},
    }
    names = {"ours": "HybridDocumentStore", "faiss_haystack": "faiss-haystack", "in_memory": "InMemoryDocumentStore"}
    figure, axes = plt.subplots(2, 2, figsize=(9, 6.4), layout="constrained")
    for axis, (title, needed) in zip(axes.flat, panels.items(), strict=True):
        for number, (store, marker) in enumerate(zip(names, "osD", strict=True)):
            mine = [
                r for r in results if r["store"] == store and needed <= r.keys()
            ]  # not every store supports every operation
            points = [(r["passages"], sum(r[name] for name in needed)) for r in mine]
            if points:
                axis.plot(*zip(*sorted(points), strict=True), marker=marker, color=f"C{number}", label=names[store])
        axis.set(title=title, xscale="log", yscale="log", xlabel="passages")
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    figure.savefig(file, dpi=110)


def main() -> None:
    """Measure everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000], help="multiples of 5,000")
    parser.add_argument("--peers-up-to", type=int, default=100_000)
    parser.add_argument("--kinds-at", type=int, default=100_000, help="measure every kind of vector index at this size")
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--output", type=Path, default=HERE / "results")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "rerank_store_benchmark")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    options.output.mkdir(parents=True, exist_ok=True)
    if not (options.work / "vectors.npz").exists():
        subprocess.run([sys.executable, HERE / "collection.py", options.dataset, options.work / "vectors.npz"], check=True)
    results: Results = []
    for size in options.sizes:
        results.append(measure(sys.executable, "ours", size, options))
        if size == options.kinds_at:
            results += [measure(sys.executable, f"ours-{kind}", size, options) for kind in KINDS]
        if size <= options.peers_up_to:
            results.append(measure(python_of_peer(options.work / "peer"), "faiss_haystack", size, options))
            results.append(measure(sys.executable, "in_memory", size, options))
    (options.output / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (options.output / "table.md").write_text(table(results), encoding="utf-8")
    plot(results, options.output / "growth.png")


if __name__ == "__main__":
    main()
