"""
Environment variables in a pipeline YAML: the address of a database is not the same on every machine.

`${NAME}` in a parameter of a document store is replaced by the value of the variable, `${NAME:-value}` by the value if the
variable is not set or empty, as in a shell. Elsewhere in a pipeline `${...}` is plain text: a prompt may contain it.
"""

import os
import re
from collections.abc import Iterator
from typing import Any

from rerank_plugin.errors import PipelineConfigError

STORE = "document_store"
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


def document_stores(node: Any) -> Iterator[dict[str, Any]]:
    """
    Yield every document store of a pipeline, at any depth.

    :param node: The content of a pipeline YAML, or a part of it.
    """
    if isinstance(node, dict):
        for key, value in node.items():
            if key == STORE and isinstance(value, dict):
                yield value
            else:
                yield from document_stores(value)
    elif isinstance(node, list):
        for value in node:
            yield from document_stores(value)


def fill_in_variables(data: dict[str, Any], *, name: str) -> None:
    """
    Replace the variables in the parameters of document stores by their values.

    :param data: The content of a pipeline YAML, changed in place.
    :param name: Name of the pipeline, for the error message.
    :raises PipelineConfigError: If a variable without a default is not set.
    """
    for store in document_stores(data):
        parameters = store.get("init_parameters")
        if isinstance(parameters, dict):
            store["init_parameters"] = _filled(parameters, name)


def _filled(value: Any, name: str) -> Any:
    if isinstance(value, dict):
        return {key: _filled(inner, name) for key, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, name) for inner in value]
    return _VARIABLE.sub(lambda match: _value(match, name), value) if isinstance(value, str) else value


def _value(match: re.Match[str], name: str) -> str:
    variable, default = match[1], match[2]
    value = os.environ.get(variable) or default
    if value is None:
        raise PipelineConfigError(
            f"{name} needs the environment variable {variable}, which is not set: set it, or write the value into the file"
        )
    return value
