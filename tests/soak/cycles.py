"""Repeated operations: the number of open files and the memory do not grow."""

import gc
import os
import random
from collections.abc import Callable
from pathlib import Path

from haystack import Document
from soak.corpora import paragraph, ranker_model, sentence
from soak.processes import Outcome, attempt
from soak.report import Report, Size

from rerank_plugin import BM25Retriever, CrossEncoderRanker, HybridDocumentStore

_GROWTH = 0.05
# A long candidate list needs memory for its texts, tokens and one batch, not for all batches.
_LIST_MB = 600.0


def _memory() -> int:
    """Bytes that this process holds in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _handles() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a Path would be made of each


def _measured(cycle: Callable[[int], object], cycles: int) -> dict[str, float]:
    """Repeat; the resources in use after a fifth of the cycles are compared with those at the end."""
    warm_up = max(10, cycles // 5)
    for number in range(warm_up):
        cycle(number)
    gc.collect()
    memory, handles = _memory(), _handles()
    for number in range(warm_up, cycles):
        cycle(number)
    gc.collect()
    return {"memory before": memory, "memory after": _memory(), "handles before": handles, "handles after": _handles()}


def opened_and_closed(folder: str, cycles: int) -> dict[str, float]:
    """Open a store, write, search in each way, and close it."""

    def cycle(number: int) -> None:
        store = HybridDocumentStore(folder)
        # The same twenty documents each time, so that the index does not grow.
        documents = [Document(id=f"{number % 20}", content=f"fox {number}", embedding=[1.0, number / 7, 0.5])]
        store.write_documents(documents, policy=_OVERWRITE)
        store.bm25_retrieval("fox")
        store.embedding_retrieval([1.0, 0.0, 0.0])
        store.filter_documents({"field": "id", "operator": "==", "value": "3"})
        store.close()

    return _measured(cycle, cycles)


def ranked(model: str, cycles: int) -> dict[str, float]:
    """Rank candidates of changing number and length."""
    ranker, chance = CrossEncoderRanker(model=model, score_cache="memory", score_cache_size=1_000), random.Random(5)
    shapes = [[sentence(chance, n % 30 + 1) for n in range(count)] for count in (1, 3, 8, 20)]

    def cycle(number: int) -> None:
        documents = [Document(content=f"{text} {number}") for text in shapes[number % len(shapes)]]
        ranker.run(query=f"capital of france {number}", documents=documents)

    return _measured(cycle, cycles)


def retrieved(folder: str, cycles: int) -> dict[str, float]:
    """Search one open index with new queries and filters each time: the caches are bounded."""
    store = HybridDocumentStore(folder)
    store.write_documents([Document(id=f"{i}", content=f"fox {i}", meta={"n": i}) for i in range(300)], policy=_OVERWRITE)
    retriever = BM25Retriever(document_store=store)

    def cycle(number: int) -> None:
        filters = {"field": "meta.n", "operator": ">=", "value": number % 1_000}
        retriever.run(query=f"fox {number}", filters=filters)

    return _measured(cycle, cycles)


def long_list(model: str, candidates: int, words: int) -> dict[str, float]:
    """Rank a long list of long documents at once."""
    ranker, text = CrossEncoderRanker(model=model), paragraph(random.Random(7), words // 9)
    documents = [Document(id=f"{i:05}", content=f"{i} {text}") for i in range(candidates)]
    ranker.run(query="capital of france", documents=documents[:3])
    gc.collect()
    memory = _memory()
    result = ranker.run(query="capital of france", documents=documents, top_k=candidates)
    peak = int(next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line))
    return {"memory before": memory, "memory after": peak * 1024, "returned": len(result["documents"])}


def _overwrite() -> object:
    from haystack.document_stores.types import DuplicatePolicy

    return DuplicatePolicy.OVERWRITE


_OVERWRITE = _overwrite()


def run(size: Size, folder: Path) -> Report:
    """Open and close 2,000 times, rank 5,000 times, search 5,000 times, and rank 5,000 candidates of 2,000 tokens."""
    report, model = Report("cycles", "cycles"), str(ranker_model(folder))
    seconds = max(120.0, 7_200 * size.scale)
    for name, cycles, outcome in (
        ("open/close", n := size.of(2_000, least=30), attempt(opened_and_closed, str(folder / "a"), n, seconds=seconds)),
        ("rank", n := size.of(5_000, least=30), attempt(ranked, model, n, seconds=seconds)),
        ("search", n := size.of(5_000, least=30), attempt(retrieved, str(folder / "b"), n, seconds=seconds)),
    ):
        report.tried += cycles
        _judge(report, name, cycles, outcome)
    candidates = size.of(5_000, least=20)
    outcome = attempt(long_list, model, candidates, 2_000, seconds=seconds)
    report.tried += 1
    if outcome.value is None:
        report.fail("long list", outcome.error or f"hung {outcome.hung}, crashed {outcome.crashed}")
        return report
    more = (outcome.value["memory after"] - outcome.value["memory before"]) / 1e6
    report.figures["long list, MB more at most"] = round(more)
    if more > _LIST_MB or outcome.value["returned"] != candidates:
        report.fail("long list", f"{more:.0f} MB more, allowed {_LIST_MB:.0f}; {outcome.value['returned']} returned")
    return report


def _judge(report: Report, name: str, cycles: int, outcome: Outcome) -> None:
    if outcome.value is None:
        report.fail(name, outcome.error or f"hung {outcome.hung}, crashed {outcome.crashed}")
        return
    measured = outcome.value
    growth = measured["memory after"] / measured["memory before"] - 1
    report.figures[f"{name}: memory growth"] = f"{growth:+.1%}"
    report.figures[f"{name}: files open"] = f"{measured['handles before']} then {measured['handles after']}"
    if measured["handles after"] > measured["handles before"]:
        report.fail(name, f"{measured['handles before']} files were open, then {measured['handles after']}")
    # Growth over a few cycles is not significant: the allocator is still reserving memory.
    if cycles >= 500 and growth > _GROWTH:
        report.fail(name, f"memory grew by {growth:.1%}")
