"""The seam of the second stage: a backend turns the features of a batch into logits."""

from rerank_plugin.scoring.backends.registry import BACKENDS, Backend, check_precision, logits_of, resolve_backend

__all__ = ["BACKENDS", "Backend", "check_precision", "logits_of", "resolve_backend"]
