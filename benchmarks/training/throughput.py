"""
Training speed on this machine's CPU: `rerank train --fast`, the published recipe, and a plain loop, interleaved, in one run.

    python benchmarks/training/throughput.py PAIRS.jsonl --model FOLDER_OR_HUB_ID [--steps 12] [--rounds 3]

`benchmarks/training/published_pairs.py` generates the pairs, with MS MARCO's lengths. The plain loop is that of a tutorial: float32,
AdamW, padded batches of 16 in file order, dropout, torch's attention. Prints pairs per second (medians of the rounds) and the ratio
to the plain loop.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from sentence_transformers import CrossEncoder

from rerank_plugin.training.data.pairs import LabelledPair, read_pairs
from rerank_plugin.training.fitting.train import train
from rerank_plugin.training.recipe.config import FAST, TrainingConfig, make_config

BATCH = 16
WARM_UP = 2


def plain(pairs: Sequence[LabelledPair], model: str, steps: int) -> float:
    """Return pairs per second of a loop without this package."""
    network = CrossEncoder(model, num_labels=1, max_length=512, device="cpu")
    network.train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-5, weight_decay=0.0)
    loss = torch.nn.BCEWithLogitsLoss()
    began = 0.0
    for step in range(WARM_UP + steps):
        if step == WARM_UP:
            began = time.perf_counter()
        batch = pairs[step * BATCH : (step + 1) * BATCH]
        inputs = network.tokenizer(
            [pair.query for pair in batch],
            [pair.passage for pair in batch],
            padding=True,
            truncation=True,
            max_length=512,
            return_tensors="pt",
        )
        logits = network[0].model(**inputs).logits.view(-1)
        loss(logits, torch.tensor([pair.label for pair in batch])).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return steps * BATCH / (time.perf_counter() - began)


def ours(pairs: Sequence[LabelledPair], config: TrainingConfig, steps: int) -> float:
    """Return pairs per second of `rerank train`."""
    times: dict[int, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        train(
            pairs,
            config,
            Path(folder),
            stop_after=WARM_UP + steps,
            on_progress=lambda done, _total: times.setdefault(done, time.perf_counter()),
        )
    return steps * BATCH / (times[WARM_UP + steps] - times[WARM_UP])


def main() -> None:
    """Measure interleaved, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    pairs = read_pairs(options.pairs)[: BATCH * 200]
    recipe = {"model": options.model}
    systems = {
        "plain loop, fp32": lambda: plain(pairs, options.model, options.steps),
        "preset msmarco-en (fp32)": lambda: ours(pairs, make_config("msmarco-en", overrides=recipe), options.steps),
        "the same in bf16": lambda: ours(
            pairs, make_config("msmarco-en", overrides={**recipe, "precision": "bf16"}), options.steps
        ),
        "--fast": lambda: ours(pairs, make_config(overrides={**recipe, **FAST}), options.steps),
    }
    speeds: dict[str, list[float]] = {name: [] for name in systems}
    for _ in range(options.rounds):
        for name, run in systems.items():
            speeds[name].append(run())
    first = statistics.median(next(iter(speeds.values())))
    print(f"{torch.get_num_threads()} threads, {options.rounds} rounds of {options.steps} steps of {BATCH} pairs")
    print("| | pairs per second | |\n| --- | ---: | ---: |")
    for name, values in speeds.items():
        median = statistics.median(values)
        print(f"| {name} | {median:.1f} ({min(values):.1f} to {max(values):.1f}) | {median / first:.1f}x |")


if __name__ == "__main__":
    main()
