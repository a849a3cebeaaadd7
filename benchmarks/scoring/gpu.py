"""
Passages per second on a GPU: sentence-transformers in fp16 at several batch sizes against this package, interleaved, with the same
model and pairs.

    python benchmarks/scoring/gpu.py BEIR_FOLDER [--model minilm-l6-en] [--device cuda:0] [--queries 100] [--rounds 5]

Each query has 100 passages of about 90 tokens, cut from the collection's text. "all" scores every query in one call, "one" a
single query, as a search does.
"""

import argparse
import random
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from sentence_transformers import CrossEncoder

from rerank_plugin.collections.beir import BeirDataset
from rerank_plugin.evaluation.bench.material import Case, draw_call, first_words
from rerank_plugin.scoring.loading.spec import ModelSpec, resolve_model
from rerank_plugin.scoring.scorer import ScorerSettings, load_scorer
from rerank_plugin.scoring.types import ScoringRequest

BATCH_SIZES = (32, 64, 128, 256)
CASE = Case((60, 120), 100)


def seconds(call: Callable[[], object]) -> float:
    """Return the time of a call; the results are copied to the CPU, so no kernel is still running."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collection", type=Path)
    parser.add_argument("--model", default="minilm-l6-en")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()

    rng = random.Random(0)
    dataset = BeirDataset(options.collection)
    words = first_words(dataset)
    texts = [query.text for query in dataset.queries().values()]
    calls = [draw_call(CASE, texts, words, rng) for _ in range(options.queries)]
    requests = [ScoringRequest(query, [d.content or "" for d in documents]) for query, documents in calls]
    pairs = [(request.query, passage) for request in requests for passage in request.passages]
    single_query = pairs[: CASE.candidates]

    half = {"dtype": torch.float16, "attn_implementation": "sdpa"} if options.device != "cpu" else {}
    stock = CrossEncoder(resolve_model(options.model), device=options.device, model_kwargs=half)
    ours = load_scorer(ModelSpec(options.model, device=options.device), ScorerSettings(backend="torch"))

    def predict(batch: list[tuple[str, str]], size: int) -> object:
        return stock.predict(batch, batch_size=size, show_progress_bar=False)

    systems: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        f"sentence-transformers, {size} a batch": (lambda s=size: predict(pairs, s), lambda s=size: predict(single_query, s))
        for size in BATCH_SIZES
    }
    systems[f"rerank_plugin, {ours.backend_name}"] = (lambda: ours.score(requests), lambda: ours.score(requests[:1]))
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in systems}
    for number in range(options.rounds + 1):
        for name, (everything, single) in systems.items():
            measured = seconds(everything), seconds(single)
            if number:  # the first round is the warm-up
                times[name].append(measured)
    print(f"{len(pairs)} passages, device {options.device}; passages per second")
    for name, rounds in times.items():
        everything, single = (median(column) for column in zip(*rounds, strict=True))
        print(f"{name:36}  all {len(pairs) / everything:>8.0f}  one query {len(single_query) / single:>8.0f}")


if __name__ == "__main__":
    main()
