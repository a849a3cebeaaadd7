"""
A long passage in one piece or in windows: time and memory of a model that reads 8192 tokens.

    python benchmarks/scoring/long_passages.py [--tokens 8192] [--windows 512 1024 2048 8192] [--backend openvino]

The model has the shape of Ettin's 17M (ModernBERT, 7 layers of 256) and random weights. Each window length is measured in a
process of its own; the lengths take turns. Prints one row for each: seconds (median, best), seconds of CPU time (median),
and the peak of memory above that of the loaded model.
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch
from transformers import AutoTokenizer, ModernBertConfig, ModernBertForSequenceClassification

from rerank_plugin.scoring.loading.spec import DEFAULT_MODEL, ModelSpec, resolve_model
from rerank_plugin.scoring.scorer import ScorerSettings, load_scorer

LONGEST = 8192
WORDS = "the city river mountain coffee tea bread dog fox blue red green sky sea sun moon star water fire earth".split()
ROUNDS = 3
QUERY = "where does the river begin?"


def write_model(folder: Path) -> None:
    """Write the model, with the tokenizer of the default model."""
    tokenizer = AutoTokenizer.from_pretrained(resolve_model(DEFAULT_MODEL), model_max_length=LONGEST)
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    torch.manual_seed(1)
    config = ModernBertConfig(
        vocab_size=len(tokenizer),
        hidden_size=256,
        num_hidden_layers=7,
        num_attention_heads=4,
        intermediate_size=384,
        max_position_embeddings=LONGEST,
        num_labels=1,
        bos_token_id=None,
        eos_token_id=None,
        **{f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("pad", "cls", "sep")},
    )
    ModernBertForSequenceClassification(config).save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))


def measure(folder: str, backend: str, window: int, tokens: int) -> dict[str, Any]:
    """Score a passage of that many tokens, in windows of a length."""
    scorer = load_scorer(ModelSpec(folder), ScorerSettings(backend=backend, max_length=window))
    text = " ".join(random.Random(1).choices(WORDS, k=tokens - 32))  # each word is one token
    scorer.logits(QUERY, [text[:400]])
    loaded = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter(), time.process_time()
        scorer.logits(QUERY, [text])
        times.append((time.perf_counter() - began[0], time.process_time() - began[1]))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"times": times, "megabytes": (peak - loaded) / 1024}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=LONGEST)
    parser.add_argument("--windows", type=int, nargs="+", default=[512, 1024, 2048, 8192])
    parser.add_argument("--backend", default="openvino")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure, arguments.backend, arguments.windows[0], arguments.tokens)))
        return
    results: dict[int, list[dict[str, Any]]] = {window: [] for window in arguments.windows}
    with tempfile.TemporaryDirectory() as folder:
        write_model(Path(folder))
        for _ in range(arguments.rounds):
            for window, made in results.items():
                command = [sys.executable, __file__, "--measure", folder, "--backend", arguments.backend]
                command += ["--tokens", str(arguments.tokens), "--windows", str(window)]
                made.append(json.loads(subprocess.check_output(command, text=True).splitlines()[-1]))
    print(f"{'window':>8} {'median s':>9} {'best s':>8} {'CPU s':>7} {'MB':>6}")
    for window, made in results.items():
        walls, processors = zip(*(times for result in made for times in result["times"]), strict=True)
        megabytes = max(result["megabytes"] for result in made)
        print(f"{window:>8} {median(walls):>9.2f} {min(walls):>8.2f} {median(processors):>7.2f} {megabytes:>6.0f}")


if __name__ == "__main__":
    main()
