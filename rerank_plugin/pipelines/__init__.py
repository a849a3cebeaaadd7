"""Pipelines: find a YAML file, check it and make the pipeline; and measure how long its components take (`timing`)."""

from rerank_plugin.pipelines.loading import (
    PACKAGED_MODEL,
    STORE_TYPE,
    build_pipeline,
    check_pipeline,
    component_names,
    find_pipeline,
    load_pipeline,
    packaged_model,
    pipeline_names,
    read_pipeline,
)

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
