"""The sections `inputs:` and `outputs:` of a pipeline YAML, which say what its sockets are for."""

from collections.abc import Mapping
from typing import Any

from rerank_plugin.checks import shown
from rerank_plugin.errors import PipelineConfigError

INPUTS, OUTPUTS = "inputs", "outputs"
_EXAMPLES = {INPUTS: "query: [retriever.query, ranker.query]", OUTPUTS: "documents: ranker.documents"}

# The sockets by name: `query` is what a caller gives, `retriever.query` where it goes.
Mapped = dict[str, list[str]]


def check_mapping(section: str, mapping: Any, *, name: str) -> Mapped:
    """
    Check a section, which has the form of Hayhooks' pipeline files.

    :param section: `inputs` or `outputs`.
    :param mapping: Its content: names with a socket or a list of sockets, each written `component.socket`.
    :param name: Name of the pipeline, for the error message.
    :returns: The sockets by name.
    :raises PipelineConfigError: If it has another form. The message names the place.
    """
    if not isinstance(mapping, Mapping):
        raise PipelineConfigError(
            f"{name}: '{section}' must map names to sockets ({_EXAMPLES[section]}), got {shown(mapping)}"
        )
    checked: Mapped = {}
    for key, sockets in mapping.items():
        listed = list(sockets) if isinstance(sockets, list | tuple) else [sockets]
        for socket in listed:
            if not isinstance(socket, str) or not all(socket.partition(".")[::2]):
                raise PipelineConfigError(
                    f"{name}: '{section}' needs sockets such as 'retriever.query' for {shown(key)}, got {shown(socket)}"
                )
        checked[str(key)] = listed
    return checked


def declared_in(metadata: Mapping[str, Any], section: str, *, name: str) -> Mapped:
    """
    Return a section that `build_pipeline` kept in the metadata of a pipeline; empty if there is none.

    :param metadata: The metadata.
    :param section: `inputs` or `outputs`.
    :param name: Name of the pipeline, for the error message.
    :raises PipelineConfigError: See `check_mapping`.
    """
    mapping = metadata.get(section)
    return {} if mapping is None else check_mapping(section, mapping, name=name)
