"""What goes into the open sockets of a pipeline: the query, filters, and how many documents each stage returns."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from haystack.dataclasses import ChatMessage

from rerank_plugin.errors import InvalidValueError, PipelineConfigError
from rerank_plugin.pipelines.shape import PipelineShape, is_collapser, is_retriever
from rerank_plugin.pipelines.sockets import QUERIES_NAMES, QUERY_NAMES, Socket, list_form, query_form, takes

FILTERS, TOP_K, CANDIDATES = "filters", "top_k", "candidates"
# A retriever that asks others passes these parameters on to them.
_PASSED_ON = "retriever_kwargs"
_MESSAGES = "messages"

Inputs = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Depths:
    """
    How many documents the stages return; `None` means as configured.

    :param candidates: What retrieves and joins the candidates.
    :param ranked: What ranks, if others change the list after it.
    :param result: The last one that changes the list, near duplicates apart.
    """

    candidates: int | None = None
    ranked: int | None = None
    result: int | None = None


class Feeder:
    """
    Fills the open sockets of the components that a result needs.

    :param shape: The pipeline.
    :param until: The sockets whose documents are wanted.
    :ivar names: The components that have to run, in the order of the pipeline.
    :raises PipelineConfigError: If nothing takes the query, or a socket needs a value that nothing says. The message lists
        the sockets.
    """

    def __init__(self, shape: PipelineShape, until: Sequence[Socket]) -> None:
        self._shape, self._wiring = shape, shape.wiring
        self.names = shape.needed(until)
        self._flow = self._wiring.document_flow(until)
        # The components whose number of documents is told; a collapser before the ranker thins out what it gets.
        self._stages = [name for name in self.names if name in self._flow and not is_collapser(self._wiring, name)]
        ends = {socket.component for socket in until}
        if shape.collapser in ends:
            before = self._wiring.document_inputs(str(shape.collapser))
            ends = {sender.component for socket in before for sender in self._wiring.senders(socket)}
        self._ends = ends
        self._queries = self._find_queries()
        self._filters = self._find_filters()
        self._check_complete()

    def inputs(self, query: str, filters: dict[str, Any] | None, depths: Depths) -> Inputs:
        """
        Return the inputs of a run.

        :param query: The query.
        :param filters: Haystack filters; `None`: as configured.
        :param depths: How many documents the stages return.
        :raises InvalidValueError: If there are filters, and a retriever takes none; or if a component has to be told how
            many documents it returns, and is not.
        """
        inputs: Inputs = {}
        for socket, form in self._queries.items():
            value: Any = query if form is str else [query] if form is list else [ChatMessage.from_user(query)]
            inputs.setdefault(socket.component, {})[socket.name] = value
        if filters is not None:
            self._check_filters()
            for socket in self._filters:
                inputs.setdefault(socket.component, {})[socket.name] = filters
        for name in self.names:
            parameters: dict[str, Any] = self._depth_parameters(name, depths)
            if self._passes_on(name):
                passed_on = {**parameters, **({} if filters is None else {FILTERS: filters})}
                parameters = {_PASSED_ON: passed_on} if passed_on else {}
            if parameters:
                inputs.setdefault(name, {}).update(parameters)
        return inputs

    def takes(self, name: str, socket: str) -> bool:
        """Return whether a component that has to run has an open socket of this name."""
        return name in self.names and socket in self._wiring.open_inputs(name)

    def tells_depth(self, name: str) -> bool:
        """Return whether a component can be told for each call how many documents it returns."""
        return self.takes(name, TOP_K) and name in self._stages

    def sockets(self, name: str) -> list[Socket]:
        """Return the open sockets of this name."""
        return [Socket(component, name) for component in self.names if self.takes(component, name)]

    def configured_top_k(self, name: str) -> int | None:
        """Return how many documents a component returns if it is not told; `None`: all, or it does not say."""
        top_k = getattr(self._wiring.component(name), TOP_K, None)
        return top_k if isinstance(top_k, int) else None

    def depths_configured(self) -> list[int]:
        """Return how many documents the stages return if they are not told, as far as they say."""
        return [top_k for top_k in map(self.configured_top_k, self._stages) if top_k is not None]

    def _depth_parameters(self, name: str, depths: Depths) -> dict[str, Any]:
        """Return the parameters of a component that say how many documents it returns, and of how many."""
        if name not in self._stages:
            return {}
        ranker = self._shape.ranker.component if self._shape.ranker else None
        if name in self._ends:
            wanted = depths.result
        elif ranker in self.names and (name == ranker or name in self._wiring.after(str(ranker))):
            wanted = depths.ranked
        else:
            wanted = self._before_the_end(name, depths)
        values = {TOP_K: wanted, CANDIDATES: depths.candidates, "top_k_per_retriever": depths.candidates}
        open_sockets = self._wiring.open_inputs(name)
        if wanted is None and TOP_K in open_sockets and open_sockets[TOP_K].is_mandatory:
            raise InvalidValueError(
                f"{self._shape.name}: {name}.top_k has no default: say how many documents, with "
                f"{TOP_K if name in self._ends else CANDIDATES}"
            )
        taken = open_sockets.keys() | ({TOP_K} if self._passes_on(name) else set())
        return {key: value for key, value in values.items() if value is not None and key in taken}

    def _before_the_end(self, name: str, depths: Depths) -> int | None:
        """Return how many documents a component of the first stage returns."""
        is_told = any(self.takes(end, TOP_K) for end in self._ends)
        if depths.candidates is not None or depths.result is None or is_told:
            return depths.candidates
        # What returns the result cannot be told how many are wanted: it returns as many as it gets.
        return max(self.configured_top_k(name) or 0, depths.result)

    def _passes_on(self, name: str) -> bool:
        return self.takes(name, _PASSED_ON) and is_retriever(self._wiring, name)

    def _find_queries(self) -> dict[Socket, type]:
        """Return the sockets that take the query, and in which form."""
        declared = [text for key in (*QUERY_NAMES, *QUERIES_NAMES, _MESSAGES) for text in self._shape.inputs.get(key, [])]
        if declared:
            sockets = self._declared(declared)
            return {socket: self._form(socket) for socket in sockets}
        of_rankers = {socket: str for socket in self._shape.ranker_queries if self.takes(socket.component, socket.name)}
        found = {
            Socket(name, key): form
            for name in self.names
            for key, socket in self._wiring.open_inputs(name).items()
            if (form := query_form(socket)) is not None
        }
        if found:
            return {**found, **of_rankers}
        texts = [
            Socket(name, key)
            for name in self.names
            for key, socket in self._wiring.open_inputs(name).items()
            if socket.type is str and socket.is_mandatory and Socket(name, key) not in of_rankers
        ]
        if len(texts) == 1:
            return {texts[0]: str, **of_rankers}
        open_sockets = [Socket(name, key) for name in self.names for key in self._wiring.open_inputs(name)]
        question = "" if texts else " (is it a pipeline that indexes?)"
        raise PipelineConfigError(
            f"{self._shape.name} cannot search: nothing says which socket takes the query{question}: choose one or several "
            "with `inputs: {query: [SOCKET]}` in its YAML, or inputs={'query': [SOCKET]} in Python; the open sockets are "
            f"{', '.join(map(str, texts or open_sockets)) or 'none'}"
        )

    def _form(self, socket: Socket) -> type:
        declared = self._wiring.inputs(socket.component)[socket.name]
        return str if takes(declared.type, str) else list_form(declared) or str

    def _declared(self, texts: Sequence[str]) -> list[Socket]:
        """Return the sockets that `inputs` names, of the components that have to run."""
        sockets = [Socket(*text.split(".", 1)) for text in dict.fromkeys(texts)]
        for socket in sockets:
            if socket.component not in self._wiring.names or socket.name not in self._wiring.open_inputs(socket.component):
                choices = (f"{name}.{key}" for name in self._wiring.names for key in self._wiring.open_inputs(name))
                raise PipelineConfigError(
                    f"{self._shape.name}: 'inputs' names {socket}, which is no open socket of this pipeline: the open "
                    f"sockets are {', '.join(choices)}"
                )
        return [socket for socket in sockets if socket.component in self.names]

    def _find_filters(self) -> list[Socket]:
        if FILTERS in self._shape.inputs:
            return self._declared(self._shape.inputs[FILTERS])
        return [
            socket
            for socket in self.sockets(FILTERS)
            if takes(self._wiring.inputs(socket.component)[socket.name].type, dict)
        ]

    def _check_filters(self) -> None:
        """Check that no retriever would return what the filters exclude."""
        if FILTERS in self._shape.inputs and self._filters:
            return
        filtered = {socket.component for socket in self._filters}
        for name in (name for name in self.names if name in self._flow and is_retriever(self._wiring, name)):
            if name not in filtered and not self._passes_on(name):
                socket = Socket(name, FILTERS)
                senders = self._wiring.senders(socket) if FILTERS in self._wiring.inputs(name) else []
                reason = f"{socket} comes from {senders[0]}" if senders else f"its retriever {name} takes none"
                raise InvalidValueError(f"{self._shape.name} cannot be searched with filters: {reason}")

    def _check_complete(self) -> None:
        """Check that every socket that needs a value gets one."""
        fed = {*self._queries, *self._filters}
        missing = [
            Socket(name, key)
            for name in self.names
            for key, socket in self._wiring.open_inputs(name).items()
            if socket.is_mandatory and Socket(name, key) not in fed and not (key == TOP_K and self.tells_depth(name))
        ]
        if missing:
            raise PipelineConfigError(
                f"{self._shape.name} cannot search: nothing says what {' and '.join(map(str, missing))} should be given; if "
                "it is the query, name all sockets that take it with `inputs: {query: [SOCKET, ...]}` in its YAML, or "
                "inputs={'query': [...]} in Python; otherwise give the component a default or a connection"
            )
