"""Backends: each turns the features of a batch into logits."""

from rerank_plugin.scoring.backends.backend import Backend, BackendInput, StreamingBackend, logits_of
from rerank_plugin.scoring.backends.registry import (
    BACKENDS,
    check_precision,
    conversion_recipe,
    explain_auto,
    resolve_backend,
)

__all__ = [
    "BACKENDS",
    "Backend",
    "BackendInput",
    "StreamingBackend",
    "check_precision",
    "conversion_recipe",
    "explain_auto",
    "logits_of",
    "resolve_backend",
]
