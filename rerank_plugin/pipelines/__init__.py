"""
Pipelines: finding, checking and building them from YAML files.

Any pipeline that searches is taken apart by the types and names of its sockets: `sockets` (what a socket is for), `shape`
(the stages), `feeding` (what goes into the open sockets), `parts` and `running`; `timing` times the components.
"""

from rerank_plugin.pipelines.embedding_models import PACKAGED_MODEL, packaged_model
from rerank_plugin.pipelines.loading import (
    build_pipeline,
    check_pipeline,
    find_pipeline,
    load_pipeline,
    outline_pipeline,
    pipeline_names,
    read_pipeline,
)
from rerank_plugin.pipelines.stores import STORE_TYPE

__all__ = [
    "PACKAGED_MODEL",
    "STORE_TYPE",
    "build_pipeline",
    "check_pipeline",
    "find_pipeline",
    "load_pipeline",
    "outline_pipeline",
    "packaged_model",
    "pipeline_names",
    "read_pipeline",
]
