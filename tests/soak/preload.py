"""Imports of the fork server: modules that are slow to import and start no threads."""

import importlib
import os

os.environ.update(HF_HUB_OFFLINE="1", HAYSTACK_TELEMETRY_ENABLED="False", OMP_NUM_THREADS="1", COLUMNS="120")

for _name in (
    "haystack",
    "haystack.components.converters",
    "haystack.components.joiners",
    "haystack.components.preprocessors",
    "haystack.components.routers",
    "haystack.components.writers",
    "torch",
    "transformers",
    "sentence_transformers",
    "rerank_plugin.cli",
    "rerank_plugin.components",
    "rerank_plugin.indexing",
    "rerank_plugin.pipelines",
):
    importlib.import_module(_name)
