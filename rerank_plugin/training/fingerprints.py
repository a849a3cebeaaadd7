"""Fingerprints of the models that training depends on."""

from rerank_plugin.errors import ModelError
from rerank_plugin.scoring.loading.fingerprint import fingerprint_name
from rerank_plugin.scoring.loading.location import locate
from rerank_plugin.scoring.loading.spec import ModelSpec


def fingerprint_model(model: str) -> str:
    """
    Identify a model by its content, not its name: two folders `reranker` with different weights differ.

    :param model: Bundled name, folder or Hub id.
    :returns: A hash of the folder's files; for a Hub id a hash of the id and its commit; for an unknown name a hash of the
        name, as loading will report that the model is missing.
    """
    try:
        return locate(ModelSpec(model)).fingerprint
    except ModelError:
        return fingerprint_name(model, {})
