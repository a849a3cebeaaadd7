"""The sockets of a pipeline's components: what they take and give, by type and name, and how they are connected."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import UnionType
from typing import Any, Union, get_args, get_origin

from haystack import Document, Pipeline
from haystack.core.component.types import InputSocket, OutputSocket
from haystack.dataclasses import ChatMessage

# A socket with one of these names that takes a text takes the query.
QUERY_NAMES = ("query", "question", "text", "search_query", "user_query", "query_text", "input_text", "user_input")
QUERIES_NAMES = ("queries", "questions", "texts")
# Documents that a component could not process, beside those that it passes on.
_REJECTED = ("failed_documents",)
# It arranges documents for a prompt, the best first and last: what it returns is no ranked list.
_ARRANGERS = ("haystack.components.rankers.lost_in_the_middle.LostInTheMiddleRanker",)


@dataclass(frozen=True)
class Socket:
    """
    A socket of a component in a pipeline, written `component.socket`.

    :param component: The name of the component.
    :param name: The name of the socket.
    """

    component: str
    name: str

    def __str__(self) -> str:
        return f"{self.component}.{self.name}"


def _members(type_: Any) -> Iterator[Any]:
    """Yield the types of a union, or the type itself."""
    if get_origin(type_) in (Union, UnionType):
        for member in get_args(type_):
            yield from _members(member)
    else:
        yield type_


def _is_list_of(type_: Any, item: type) -> bool:
    return any(
        isinstance(get_origin(member), type)
        and issubclass(get_origin(member), Iterable)
        and get_args(member)[:1] == (item,)
        and not issubclass(get_origin(member), Mapping)
        for member in _members(type_)
    )


def carries_documents(type_: Any) -> bool:
    """Return whether a socket of this type takes or gives a list of documents; `Any` does not say so."""
    return _is_list_of(type_, Document)


def takes(type_: Any, kind: type) -> bool:
    """
    Return whether a socket of this type takes values of a class.

    :param type_: The type; one without a declaration takes everything.
    :param kind: The class, such as `str`.
    """
    return any(member in (Any, kind) or get_origin(member) is kind for member in _members(type_))


def query_form(socket: InputSocket) -> type | None:
    """
    Return the form in which a socket takes the query.

    :param socket: The socket.
    :returns: `str`, `list` (a list with one text) or `ChatMessage` (a list with one message); `None` if it takes no query.
    """
    if socket.name in QUERY_NAMES and takes(socket.type, str):
        return str
    return list_form(socket) if socket.name in QUERIES_NAMES or socket.name == "messages" else None


def list_form(socket: InputSocket) -> type | None:
    """Return `list` or `ChatMessage` if a socket takes a list of texts or of messages, otherwise `None`."""
    if _is_list_of(socket.type, str):
        return list
    # Generators take further messages beside those of a prompt: only what cannot run without any is given the query.
    return ChatMessage if _is_list_of(socket.type, ChatMessage) and socket.is_mandatory else None


class Wiring:
    """
    The components of a pipeline, their sockets and connections.

    :param pipeline: The pipeline.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self._graph = pipeline.graph
        self.names: list[str] = list(pipeline.graph)

    def component(self, name: str) -> Any:
        """Return a component."""
        return self._graph.nodes[name]["instance"]

    def inputs(self, name: str) -> dict[str, InputSocket]:
        """Return the input sockets of a component."""
        sockets: dict[str, InputSocket] = self._graph.nodes[name]["input_sockets"]
        return sockets

    def outputs(self, name: str) -> dict[str, OutputSocket]:
        """Return the output sockets of a component."""
        sockets: dict[str, OutputSocket] = self._graph.nodes[name]["output_sockets"]
        return sockets

    def open_inputs(self, name: str) -> dict[str, InputSocket]:
        """Return the input sockets of a component that no other component fills."""
        return {key: socket for key, socket in self.inputs(name).items() if not socket.senders}

    def senders(self, receiver: Socket) -> list[Socket]:
        """Return the output sockets that are connected with an input socket, in the order of the connections."""
        ends = {
            sender: Socket(sender, data["from_socket"].name)
            for sender, _, data in self._graph.in_edges(receiver.component, data=True)
            if data["to_socket"].name == receiver.name
        }
        return [ends[sender] for sender in self.inputs(receiver.component)[receiver.name].senders if sender in ends]

    def document_outputs(self, name: str) -> list[Socket]:
        """Return the sockets from which a component passes documents on in ranked order."""
        if f"{type(self.component(name)).__module__}.{type(self.component(name)).__name__}" in _ARRANGERS:
            return []
        return [
            Socket(name, key)
            for key, socket in self.outputs(name).items()
            if carries_documents(socket.type) and key not in _REJECTED
        ]

    def document_inputs(self, name: str) -> list[Socket]:
        """Return the sockets into which a component takes documents; one without a type does if documents arrive there."""
        return [
            Socket(name, key)
            for key, socket in self.inputs(name).items()
            if carries_documents(socket.type)
            or any(carries_documents(self.outputs(s.component)[s.name].type) for s in self.senders(Socket(name, key)))
        ]

    def with_ancestors(self, sockets: Sequence[Socket]) -> list[str]:
        """Return the components of sockets and all whose output reaches them, in the order of the pipeline."""
        starts = {socket.component for socket in sockets}
        found = starts.union(*(_reached(name, self._graph.predecessors) for name in starts))
        return [name for name in self.names if name in found]

    def after(self, name: str) -> set[str]:
        """Return the components that the output of a component reaches; itself only if it is part of a loop."""
        return _reached(name, self._graph.successors)

    def document_flow(self, sockets: Sequence[Socket], *, without: str | None = None) -> set[str]:
        """
        Return the components of sockets, and those whose documents reach them as documents.

        A retriever whose documents become a prompt, or an embedding, from which others are found, is not among them.

        :param sockets: The sockets.
        :param without: A component that lets no documents through.
        """
        starts = {socket.component for socket in sockets} - {without}
        return starts.union(*(_reached(name, self._document_senders, without=without) for name in starts))

    def _document_senders(self, name: str) -> list[str]:
        senders = [sender for socket in self.document_inputs(name) for sender in self.senders(socket)]
        return [s.component for s in senders if carries_documents(self.outputs(s.component)[s.name].type)]


def _reached(start: str, step: Callable[[str], Iterable[str]], *, without: str | None = None) -> set[str]:
    found: set[str] = set()
    waiting = [start]
    while waiting:
        for name in step(waiting.pop()):
            if name not in found and name != without:
                found.add(name)
                waiting.append(name)
    return found
