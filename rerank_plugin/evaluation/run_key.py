"""
The key under which something expensive is kept: a hash of everything that decides about it.

Answers of an evaluation, scores of a teacher, mined negatives and fitted calibrations are all kept under one. What a key
leaves out can change, and the old result is then found again and silently wrong: so each part is named, even if it is None.
"""

import hashlib
import json
from typing import Any


def run_key(*, settings: Any, query: str | None, models: Any, corpus: str | None) -> str:
    """
    Hash what decides about a result.

    :param settings: Everything that was chosen: the pipeline's parameters, depths, seeds. Values that JSON can hold.
    :param query: The text of the query, not its id; `None` where the result does not belong to one query.
    :param models: Fingerprints of the models' files (see `scoring.loading.fingerprint`); `None` where there is no model.
    :param corpus: What changes with the corpus: `HybridDocumentStore.revision()`, or a hash of the files; `None` where the
        result does not depend on a corpus.
    :returns: 32 hexadecimal digits.
    """
    parts = {"settings": settings, "query": query, "models": models, "corpus": corpus}
    text = json.dumps(parts, sort_keys=True, default=str, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
