"""Fingerprints of what training depends on: the models it asks and the files it reads."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from rerank_plugin.errors import ModelError
from rerank_plugin.scoring.loading.fingerprint import fingerprint_name
from rerank_plugin.scoring.loading.location import locate
from rerank_plugin.scoring.loading.spec import ModelSpec


def fingerprint_model(model: str) -> str:
    """
    Tell a model apart from others, whatever they are called: two folders `reranker` with other weights differ.

    :param model: Bundled name, folder or Hub id.
    :returns: A hash of the folder's files; for a Hub id one of the id and its commit, and for a name that nothing on this
        machine stands for, one of the name: whoever loads it says that it is missing.
    """
    try:
        return locate(ModelSpec(model)).fingerprint
    except ModelError:
        return fingerprint_name(model, {})


def fingerprint_files(files: Iterable[Path]) -> str:
    """
    Hash the content of files; neither their names nor their dates count.

    :param files: The files, in an order that stays the same.
    :returns: 32 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:32]
