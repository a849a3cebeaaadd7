"""
Judgements of an index: who found which passage how relevant to which query. They are kept in the index, outlive indexing the
files again, and are what `rerank eval`, `calibrate` and `train` take in place of a judged collection.

The names below are imported on first use, so that importing the package is cheap.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rerank_plugin.judgements.export import export_collection
    from rerank_plugin.judgements.grades import Grade
    from rerank_plugin.judgements.judgements import Judgement, Judgements, Progress
    from rerank_plugin.judgements.qrels_import import import_qrels

__all__ = ["Grade", "Judgement", "Judgements", "Progress", "export_collection", "import_qrels"]

_MODULES = {
    "Grade": "rerank_plugin.judgements.grades",
    "Judgement": "rerank_plugin.judgements.judgements",
    "Judgements": "rerank_plugin.judgements.judgements",
    "Progress": "rerank_plugin.judgements.judgements",
    "export_collection": "rerank_plugin.judgements.export",
    "import_qrels": "rerank_plugin.judgements.qrels_import",
}


def __getattr__(name: str) -> Any:
    """Import a public name from the module that defines it."""
    if name not in _MODULES:
        raise AttributeError(f"module 'rerank_plugin.judgements' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
