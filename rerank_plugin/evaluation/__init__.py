"""
Evaluate retrieval: what a second stage gains, on which queries, and at what cost. `rerank eval` as a library.

The names below are imported on first use, so that importing the package is cheap.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rerank_plugin.collections.trec import read_qrels, read_run, write_run
    from rerank_plugin.evaluation.comparison import Comparison, Difference, compare
    from rerank_plugin.evaluation.measures import Evaluation, evaluate

__all__ = ["Comparison", "Difference", "Evaluation", "compare", "evaluate", "read_qrels", "read_run", "write_run"]

_MODULES = {
    "Comparison": "rerank_plugin.evaluation.comparison",
    "Difference": "rerank_plugin.evaluation.comparison",
    "Evaluation": "rerank_plugin.evaluation.measures",
    "compare": "rerank_plugin.evaluation.comparison",
    "evaluate": "rerank_plugin.evaluation.measures",
    "read_qrels": "rerank_plugin.collections.trec",
    "read_run": "rerank_plugin.collections.trec",
    "write_run": "rerank_plugin.collections.trec",
}


def __getattr__(name: str) -> Any:
    """Import a public name from the module that defines it."""
    if name not in _MODULES:
        raise AttributeError(f"module 'rerank_plugin.evaluation' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
