"""
The key of an expensive result: a hash of everything that it depends on.

Answers of an evaluation, scores of a teacher, mined negatives and fitted calibrations all have such a key. If a key left out
a dependency, a stale result would be reused silently: so every part must be given, even if it is None.
"""

import hashlib
import json
from typing import Any


def run_key(*, settings: Any, query: str | None, models: Any, corpus: str | None) -> str:
    """
    Hash everything that a result depends on.

    :param settings: All settings: the pipeline's parameters, depths, seeds. Values that JSON can represent.
    :param query: The text of the query, not its id; `None` if the result does not belong to a single query.
    :param models: Fingerprints of the models' files (see `scoring.loading.fingerprint`); `None` if there is no model.
    :param corpus: A value that changes with the corpus: `HybridDocumentStore.revision()`, or a hash of the files; `None` if
        the result does not depend on a corpus.
    :returns: 32 hexadecimal digits.
    """
    parts = {"settings": settings, "query": query, "models": models, "corpus": corpus}
    text = json.dumps(parts, sort_keys=True, default=str, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
