"""Pipelines: finding, checking and building them from YAML files, and timing their components (`timing`)."""

from rerank_plugin.pipelines.embedding_models import PACKAGED_MODEL, packaged_model
from rerank_plugin.pipelines.loading import (
    build_pipeline,
    check_pipeline,
    component_names,
    find_pipeline,
    load_pipeline,
    pipeline_names,
    read_pipeline,
)
from rerank_plugin.pipelines.stores import STORE_TYPE

__all__ = [
    "PACKAGED_MODEL",
    "STORE_TYPE",
    "build_pipeline",
    "check_pipeline",
    "component_names",
    "find_pipeline",
    "load_pipeline",
    "packaged_model",
    "pipeline_names",
    "read_pipeline",
]
