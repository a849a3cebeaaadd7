"""Running the part of a pipeline that gives a list of documents."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from haystack import Document, Pipeline
from haystack.core.errors import PipelineRuntimeError

from rerank_plugin.errors import RerankError, caused_by
from rerank_plugin.pipelines.feeding import Feeder, Inputs
from rerank_plugin.pipelines.parts import part_of
from rerank_plugin.pipelines.shape import PipelineShape
from rerank_plugin.pipelines.sockets import Socket


@dataclass(frozen=True)
class PipelinePart:
    """
    The part of a pipeline that has to run for the documents of some sockets.

    :param pipeline: The part.
    :param feeder: Fills its open sockets.
    :param until: The sockets.
    """

    pipeline: Pipeline
    feeder: Feeder
    until: tuple[Socket, ...]

    @classmethod
    def of(cls, pipeline: Pipeline, shape: PipelineShape, until: tuple[Socket, ...]) -> "PipelinePart":
        """
        Take the part of a pipeline.

        :param pipeline: The pipeline.
        :param shape: Its stages.
        :param until: The sockets whose documents are wanted.
        :raises PipelineConfigError: See `Feeder`.
        """
        feeder = Feeder(shape, until)
        return cls(part_of(pipeline, feeder.names), feeder, until)

    def run(self, inputs: Inputs, *, also: set[str]) -> dict[str, Any]:
        """
        Run it.

        :param inputs: From the feeder.
        :param also: Components whose outputs are wanted as well.
        :returns: The outputs by component.
        :raises RerankError: If a component of this package fails.
        """
        try:
            return self.pipeline.run(inputs, include_outputs_from={socket.component for socket in self.until} | also)
        except PipelineRuntimeError as error:
            ours = caused_by(error, RerankError)
            if ours is None:
                raise
            raise ours from None  # it names the remedy


def joined_documents(outputs: Mapping[str, Any], sockets: Sequence[Socket]) -> list[Document]:
    """
    Return the documents of several sockets, each once.

    :param outputs: The outputs by component; one that did not run, as it is on another branch, gives no documents.
    :param sockets: The sockets.
    """
    lists: list[list[Document]] = [outputs.get(socket.component, {}).get(socket.name, []) for socket in sockets]
    if len(lists) == 1:
        return lists[0]
    documents: dict[str, Document] = {}
    for document in chain.from_iterable(lists):
        documents.setdefault(document.id, document)
    return list(documents.values())
