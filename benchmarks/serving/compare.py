"""
Compare `rerank serve` with infinity-emb under open-loop load: same weights, same machine, in turn.

    python benchmarks/serving/compare.py BEIR_FOLDER MODEL_FOLDER [--times 0.5 1 2 10] [--seconds 60] [--output FOLDER]

infinity-emb pins older packages, so it runs in the virtual environment that `rerank bench --system infinity` makes in the cache folder, or in a
given one: --infinity-python. Both serve the model folder, a BERT cross-encoder as transformers saves it. First the capacity of each is measured
with four callers; then both get the same arrivals, at multiples of the capacity of `rerank serve`, once more after each other for every multiple.
Writes `results.json`, `table.md` and `load.png` into the output folder.
"""

import argparse
import asyncio
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
from load import Load, Pool, capacity, offer
from servers import free_port, running

from rerank_plugin.evaluation.bench.peers import python_of

SECONDS_SHOWN = (1, 2, 5, 10, 20, 50)


def commands(options: argparse.Namespace, port: int) -> dict[str, list[str]]:
    """Return the command line of each server."""
    return {
        "rerank serve": [
            *(sys.executable, "-m", "rerank_plugin", "serve", "--port", str(port), "--model", f"default={options.model}"),
            *("--max-wait", str(options.deadline)),
        ],
        "infinity-emb": [
            *(
                str(Path(options.infinity_python or "none").with_name("infinity_emb")),
                "v2",
                "--port",
                str(port),
                "--device",
                "cpu",
            ),
            *("--engine", "torch", "--model-id", str(options.model), "--served-model-name", "default"),
            "--no-bettertransformer",
        ],
    }


def megabytes(process: psutil.Process) -> float:
    """Return the resident memory of a server and its children."""
    return sum(member.memory_info().rss for member in [process, *process.children(recursive=True)]) / 2**20


def measure(options: argparse.Namespace, output: Path) -> dict[str, Any]:
    """Run the comparison."""
    pool = Pool.read(options.folder, options.split)
    results: dict[str, Any] = {
        "deadline": options.deadline,
        "seconds": options.seconds,
        "capacity": {},
        "start": {},
        "loads": [],
    }
    names = ["rerank serve", *(["infinity-emb"] if options.infinity_python else [])]
    for name in names:
        port = free_port()
        with running(commands(options, port)[name], port, output / f"{name.split()[0]}.log") as (url, _, start):
            results["start"][name] = start
            seconds = max(20.0, options.seconds / 2)
            results["capacity"][name] = asyncio.run(capacity(url, pool, callers=4, seconds=seconds, seed=7))
            print(f"{name}: ready in {start:.1f} s, capacity {results['capacity'][name]:.2f} requests/s", flush=True)
    for times in options.times:
        for name in names:
            port = free_port()
            with running(commands(options, port)[name], port, output / f"{name.split()[0]}.log") as (url, process, _):
                asyncio.run(capacity(url, pool, callers=2, seconds=5, seed=3))  # warm
                before = megabytes(process)
                rate = times * results["capacity"]["rerank serve"]
                load = asyncio.run(
                    offer(url, pool, rate=rate, seconds=options.seconds, deadline=options.deadline, seed=round(100 * times))
                )
                row = {"server": name, "times": times, "before_mb": before, "after_mb": megabytes(process), **asdict(load)}
            results["loads"].append(row)
            print(line(row), flush=True)
    return results


HEADER = """| server | load | offered/s | goodput/s | late | rejected | failed | p50 ms | p95 ms | p99 ms | MB before, after |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"""


def line(row: dict[str, Any]) -> str:
    """Return a row of the table."""
    load = Load(**{name: row[name] for name in Load.__dataclass_fields__})
    return (
        f"| {row['server']} | {row['times']:g} x | {load.offered:.2f} | {load.goodput:.2f} | {load.late} | {load.rejected} | "
        f"{load.failed} | {load.p50:,.0f} | {load.p95:,.0f} | {load.p99:,.0f} | {row['before_mb']:,.0f}, {row['after_mb']:,.0f} |"
    )


def plot(results: dict[str, Any], path: Path) -> None:
    """Draw goodput and p95 against the load."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for name in dict.fromkeys(row["server"] for row in results["loads"]):
        rows = [row for row in results["loads"] if row["server"] == name]
        loads = [row["times"] for row in rows]
        left.plot(loads, [row["goodput"] for row in rows], marker="o", label=name)
        right.plot(loads, [row["p95"] / 1000 for row in rows], marker="o", label=name)
    left.axhline(results["capacity"]["rerank serve"], color="grey", linewidth=0.8, linestyle=":")
    left.annotate(
        "capacity of rerank serve", (loads[-1], results["capacity"]["rerank serve"]), ha="right", va="bottom", fontsize=8
    )
    right.axhline(results["deadline"], color="grey", linewidth=0.8, linestyle=":")
    right.annotate("deadline", (loads[0], results["deadline"]), ha="left", va="bottom", fontsize=8)
    left.set(xlabel="offered load, times capacity", ylabel="answered in time, requests/s", xscale="log", ylim=(0, None))
    right.set(xlabel="offered load, times capacity", ylabel="p95 of answered requests, s", xscale="log", yscale="log")
    for axis in (left, right):
        axis.set_xticks(loads, [f"{value:g}" for value in loads])
        axis.minorticks_off()
        axis.legend(frameon=False)
    right.set_yticks(SECONDS_SHOWN, [f"{value:g}" for value in SECONDS_SHOWN])
    figure.savefig(path, dpi=120)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("model", type=Path, help="a cross-encoder as transformers saves it")
    parser.add_argument("--times", type=float, nargs="+", default=[0.5, 1, 2, 10])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--deadline", type=float, default=5.0, help="seconds")
    parser.add_argument("--split", default="test", help="of the judgements; only the texts are used")
    parser.add_argument("--output", type=Path, default=Path("serving-results"))
    parser.add_argument(
        "--infinity-python", help="the interpreter of an environment with infinity-emb; `none`: leave it out"
    )
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    if options.infinity_python is None:
        options.infinity_python = str(python_of("infinity"))
    elif options.infinity_python == "none":
        options.infinity_python = None
    results = measure(options, options.output)
    (options.output / "results.json").write_text(json.dumps(results, indent=1))
    table = "\n".join([HEADER, *map(line, results["loads"])])
    (options.output / "table.md").write_text(f"{table}\n")
    plot(results, options.output / "load.png")
    print(table)


if __name__ == "__main__":
    main()
