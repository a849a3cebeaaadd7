"""
The program that runs a peer in the peer's own environment. It imports the standard library and the peer, nothing else.

It reads a JSON object from each line of standard input and answers each with a line on standard output. The first line is
`{"peer": NAME, "model": FOLDER, "callers": N}`, answered by `{"ready": true}`; the others are `{"id": I, "query": TEXT,
"texts": [TEXT, ...]}`, answered, as soon as each is done, by `{"id": I, "scores": [NUMBER, ...]}`. What fails is answered by
`{"error": TEXT}`, with the id if there is one.
"""

import asyncio
import json
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

Score = Callable[[str, list[str]], list[float]]


def load_fastembed(folder: str) -> Score:
    """Load fastembed's cross-encoder on the file `model.onnx` of a folder, with its own defaults."""
    from fastembed.common.model_description import ModelSource
    from fastembed.rerank.cross_encoder import TextCrossEncoder

    TextCrossEncoder.add_custom_model("bench/model", sources=ModelSource(hf="bench/model"), model_file="model.onnx")
    encoder = TextCrossEncoder("bench/model", specific_model_path=folder)
    return lambda query, texts: [float(score) for score in encoder.rerank(query, texts)]


def load_infinity(folder: str) -> Score:
    """Load infinity's engine on torch, with its own defaults. It puts the texts of calls that wait into common batches."""
    from infinity_emb import AsyncEngineArray, EngineArgs

    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    # BetterTransformer does not load beside current versions of torch.
    arguments = EngineArgs(model_name_or_path=folder, engine="torch", device="cpu", bettertransformer=False)
    engine = AsyncEngineArray.from_args([arguments])[0]
    asyncio.run_coroutine_threadsafe(engine.astart(), loop).result()

    def score(query: str, texts: list[str]) -> list[float]:
        found = asyncio.run_coroutine_threadsafe(engine.rerank(query=query, docs=texts, raw_scores=True), loop).result()[0]
        by_index = {one.index: float(one.relevance_score) for one in found}
        return [by_index[index] for index in range(len(texts))]

    return score


LOADERS = {"fastembed": load_fastembed, "infinity": load_infinity}


def main() -> None:
    """Answer requests until standard input ends."""
    # The peer's libraries print to standard output too.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    lock = threading.Lock()

    def say(message: dict[str, Any]) -> None:
        with lock:
            answers.write(json.dumps(message) + "\n")
            answers.flush()

    task = json.loads(sys.stdin.readline())
    try:
        score = LOADERS[task["peer"]](task["model"])
    except Exception as error:  # noqa: BLE001 - told to the caller
        say({"error": f"{type(error).__name__}: {error}"})
        return

    def answer(request: dict[str, Any]) -> None:
        try:
            say({"id": request["id"], "scores": score(request["query"], request["texts"])})
        except Exception as error:  # noqa: BLE001 - told to the caller
            say({"id": request["id"], "error": f"{type(error).__name__}: {error}"})

    say({"ready": True})
    with ThreadPoolExecutor(task["callers"]) as callers:
        for line in sys.stdin:
            callers.submit(answer, json.loads(line))
    # infinity's threads do not end by themselves.
    os._exit(0)


if __name__ == "__main__":
    main()
