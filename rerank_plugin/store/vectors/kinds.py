"""The kinds of vector index, and the choice that `auto` makes."""

from dataclasses import dataclass
from importlib import import_module
from math import floor, log2, sqrt
from typing import Any

# A flat scan of this many vectors of 384 dimensions takes about 20 ms on one core, so approximate search is not needed.
EXACT_UP_TO = 100_000
# From this many vectors on, a flat index is also kept in a file, which opens instantly; fewer are read from the database.
FLAT_FILE_FROM = 20_000
# With fewer vectors than this, training cells is not worthwhile.
TRAINED_FROM = 2_000
_NEIGHBOURS = 32
_BUILD_EFFORT = 200
_PER_CELL = 50
_LEAST_PER_CELL = 39  # with fewer, FAISS warns that the centroids are unreliable
_EFFORTS = (8, 16, 32, 64, 128, 256, 512, 1024)


@dataclass(frozen=True)
class Choice:
    """A kind of index and the reason for it."""

    kind: str
    reason: str


def choose(requested: str, count: int) -> Choice:
    """
    Return the kind of index to use.

    :param requested: One of `settings.VECTOR_INDEXES`.
    :param count: Number of vectors.
    """
    if requested == "flat":
        return Choice("flat", "as requested: exact")
    if requested == "auto":
        if count <= EXACT_UP_TO:
            return Choice("flat", f"auto: {count:,} vectors, exact search is fast up to {EXACT_UP_TO:,}")
        return Choice("ivf_sq8", f"auto: {count:,} vectors, more than the {EXACT_UP_TO:,} that exact search is fast for")
    if count < TRAINED_FROM:
        return Choice("flat", f"{requested} needs {TRAINED_FROM:,} vectors, there are {count:,}: exact until then")
    return Choice(requested, "as requested")


def cells(count: int) -> int:
    """
    Return the number of cells of an IVF index: about 2 sqrt(n), a power of two, with enough vectors in each to train it.

    :param count: Number of vectors.
    """
    return int(2 ** floor(log2(max(1, min(2 * sqrt(count), count / _LEAST_PER_CELL)))))


def sample_size(kind: str, count: int) -> int:
    """
    Return the number of vectors to train an index on.

    :param kind: Any kind except `auto`.
    :param count: Number of vectors.
    """
    if kind in ("flat", "hnsw"):
        return 1  # nothing to train
    wanted = _PER_CELL * cells(count) if kind.startswith("ivf") else 50_000
    return min(count, max(wanted, 2_000))


def make(kind: str, dim: int, similarity: str, count: int) -> Any:
    """
    Create an untrained FAISS index.

    :param kind: Any kind except `auto`.
    :param dim: Length of the vectors.
    :param similarity: `cosine`, `dot_product` or `l2`.
    :param count: Number of vectors it will hold.
    """
    import faiss

    metric = faiss.METRIC_L2 if similarity == "l2" else faiss.METRIC_INNER_PRODUCT
    shape = {
        "flat": "Flat",
        "hnsw": f"HNSW{_NEIGHBOURS},Flat",
        "hnsw_sq8": f"HNSW{_NEIGHBOURS},SQ8",
        "ivf": f"IVF{cells(count)},Flat",
        "ivf_sq8": f"IVF{cells(count)},SQ8",
    }[kind]
    index: Any = faiss.index_factory(dim, shape, metric)
    if kind.startswith("hnsw"):
        index.hnsw.efConstruction = _BUILD_EFFORT
    elif kind.startswith("ivf"):
        index.cp.niter = 10  # further iterations hardly move the centroids
    return index


def efforts(kind: str, count: int) -> list[int]:
    """
    Return the search efforts to choose from, cheapest first: `nprobe` of IVF, or `efSearch` of HNSW.

    :param kind: Any kind except `auto` and `flat`.
    :param count: Number of vectors.
    """
    if kind.startswith("ivf"):
        return [*(effort for effort in _EFFORTS if effort < cells(count)), cells(count)]
    return [effort for effort in _EFFORTS if effort < count]


def parameters(kind: str, effort: int, selector: Any) -> Any:
    """
    Return FAISS's parameters for a search.

    :param kind: Any kind except `auto`.
    :param effort: See `efforts`.
    :param selector: Which positions may be returned.
    """
    faiss: Any = import_module("faiss")  # its type hints lack these parameters
    if kind == "flat":
        return faiss.SearchParameters(sel=selector)
    if kind.startswith("ivf"):
        return faiss.SearchParametersIVF(sel=selector, nprobe=effort)
    return faiss.SearchParametersHNSW(sel=selector, efSearch=effort)
