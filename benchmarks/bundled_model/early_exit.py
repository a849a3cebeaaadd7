"""
Train the early-exit network of a bundled model, and write it beside the model's weights.

    python benchmarks/bundled_model/early_exit.py WORK --model me5-l12-enru --layers 2 --width 128 [--pairs 360000]

WORK holds the lists of `judged_lists.py`. As many are taken of each collection as in `continue_training.py`; a model whose name ends in `-en` gets no Russian
ones. Afterwards `rerank calibrate` fits the rule that the ranker's `effort` needs.
"""

import argparse
import random
from pathlib import Path

from continue_training import SHARES
from judged_lists import LIST_SIZE

from rerank_plugin.collections.jsonl import read_jsonl
from rerank_plugin.scoring.loading.spec import resolve_model
from rerank_plugin.training.data.pairs import LabelledPair
from rerank_plugin.training.output.fit_early_exit import fit_early_exit


def sample(folder: Path, most: int, *, english_only: bool, rng: random.Random) -> list[LabelledPair]:
    """Return pairs of all collections, each with its share."""
    shares = {name: share for name, share in SHARES.items() if not (english_only and name.endswith("_ru"))}
    pairs = []
    for name, share in shares.items():
        rows = [row for _, row in read_jsonl(folder / f"{name}.jsonl")]
        wanted = int(most * share / sum(shares.values()) / LIST_SIZE)
        for row in rng.sample(rows, min(len(rows), wanted)):
            labelled = zip(row["passages"], row["relevant"], strict=True)
            pairs += [LabelledPair(row["query"][:400], passage, float(relevant)) for passage, relevant in labelled]
    return pairs


def main() -> None:
    """Train and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, help="folder of judged_lists.py")
    parser.add_argument("--model", default="me5-l12-enru", help="a bundled name or a folder")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--width", type=int, help="of a narrow network; without it, the network has the model's width")
    parser.add_argument("--pairs", type=int, default=360_000)
    options = parser.parse_args()
    pairs = sample(options.work / "lists", options.pairs, english_only=options.model.endswith("-en"), rng=random.Random(1))
    folder = Path(resolve_model(options.model))

    def report(done: int, total: int) -> None:
        if done % 100 == 0:
            print(f"step {done} of {total}", flush=True)

    network = fit_early_exit(folder, pairs, layers=options.layers, width=options.width, seed=1, on_progress=report)
    if network is not None:
        print(network.save(folder))


if __name__ == "__main__":
    main()
