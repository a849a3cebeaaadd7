"""The stages of any pipeline that searches (retrievers, candidates, ranker, result), told by sockets, not by names."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from haystack import Pipeline

from rerank_plugin.errors import PipelineConfigError
from rerank_plugin.pipelines.declared import INPUTS, OUTPUTS, Mapped, check_mapping, declared_in
from rerank_plugin.pipelines.sockets import QUERY_NAMES, Socket, Wiring, carries_documents, takes

DOCUMENTS = "documents"
# What the inputs of a component that collapses near duplicates are called, as those of `ResultCollapser`.
_COLLAPSER_INPUTS = {"collapse", "max_per_source"}
# A component that contains a second stage can leave it out if it takes this flag, as `TwoStageRetriever` does.
RERANK = "rerank"


@dataclass(frozen=True)
class RankerSockets:
    """
    The sockets of a second stage.

    :param component: Its name.
    :param query: The socket for the query.
    :param documents: The socket for the candidates.
    :param ranked: The socket of the ranked documents.
    :param has_top_k: Whether `top_k` can be set for each call.
    """

    component: str
    query: str
    documents: str
    ranked: str
    has_top_k: bool


@dataclass(frozen=True)
class PipelineShape:
    """
    The stages of a pipeline.

    :param name: Name of the pipeline, for messages.
    :param wiring: Its components.
    :param inputs: The section `inputs:`; empty without one.
    :param result: Where the documents that a user sees come from; the lists of several sockets are joined in this order.
    :param ranked: Where the ranked list comes from that is measured: the output of the ranker, or, without one, the result
        before near duplicates are collapsed.
    :param ranker: The second stage; `None`: there is none, or it cannot be told which component it is.
    :param candidates: Where the documents that reach the ranker come from; empty without a ranker.
    :param collapser: The component that collapses near duplicates, if the result comes from it.
    :param inseparable: Why the stages cannot be run one by one; `None`: they can, or there is only one.
    :param ranker_queries: The sockets for the query of all rankers, whatever their names.
    """

    name: str
    wiring: Wiring
    inputs: Mapped
    result: tuple[Socket, ...]
    ranked: tuple[Socket, ...]
    ranker: RankerSockets | None
    candidates: tuple[Socket, ...]
    collapser: str | None
    inseparable: str | None
    ranker_queries: tuple[Socket, ...]

    @property
    def retrievers(self) -> list[str]:
        """The components before the result that find documents, rather than pass on others."""
        flow = self.wiring.document_flow(self.result)
        return [name for name in self.wiring.names if name in flow and is_retriever(self.wiring, name)]

    @property
    def tail(self) -> list[str]:
        """The components that change the list between the ranker and the result, without the collapser."""
        if self.ranker is None:
            return []
        after = self.wiring.after(self.ranker.component) & self.wiring.document_flow(self.result)
        return [name for name in self.wiring.names if name in after - {self.collapser, self.ranker.component}]

    def needed(self, sockets: Sequence[Socket]) -> list[str]:
        """Return the components that have to run for the documents of these sockets."""
        return self.wiring.with_ancestors(sockets)


def shape_of(
    pipeline: Pipeline,
    *,
    inputs: Mapping[str, str | list[str]] | None = None,
    outputs: Mapping[str, str | list[str]] | None = None,
    name: str = "the pipeline",
) -> PipelineShape:
    """
    Find the stages of a pipeline.

    :param pipeline: The pipeline.
    :param inputs: Which sockets take the query and the filters: `{"query": ["retriever.query", "ranker.query"]}`; `None`: as
        its YAML says, or else by their names and types.
    :param outputs: Where the documents come from: `{"documents": "ranker.documents"}`; `None`: likewise.
    :param name: Name of the pipeline, for error messages.
    :returns: The stages.
    :raises PipelineConfigError: If it returns no documents, or several lists and nothing says which is the result.
    """
    wiring = Wiring(pipeline)
    told = {
        section: declared_in(pipeline.metadata, section, name=name)
        if given is None
        else check_mapping(section, given, name=name)
        for section, given in ((INPUTS, inputs), (OUTPUTS, outputs))
    }
    rankers = {component: sockets for component in wiring.names if (sockets := _ranker(wiring, component, told[INPUTS]))}
    result = _result(wiring, rankers.keys(), told[OUTPUTS], name)
    needed = wiring.with_ancestors(result)
    last = result[0].component
    collapser = last if len(result) == 1 and is_collapser(wiring, last) else None
    rankers = {component: sockets for component, sockets in rankers.items() if component in needed}
    final = [component for component in rankers if not (wiring.after(component) - {component}) & rankers.keys()]
    ranker = rankers[final[0]] if len(final) == 1 else None
    if ranker:
        inseparable = _inseparable(wiring, ranker, result)
    elif rankers:
        inseparable = f"{' and '.join(final or rankers)} rank side by side"
    else:
        inside = [component for component in needed if _contains_ranker(wiring, component)]
        inseparable = f"{' and '.join(inside)} contains its second stage" if inside else None
    before = _documents_into(wiring, collapser) if collapser else ()
    return PipelineShape(
        name=name,
        wiring=wiring,
        inputs=told[INPUTS],
        result=result,
        ranked=(Socket(ranker.component, ranker.ranked),) if ranker and inseparable is None else before or result,
        ranker=ranker,
        candidates=tuple(wiring.senders(Socket(ranker.component, ranker.documents))) if ranker else (),
        collapser=collapser,
        inseparable=inseparable,
        ranker_queries=tuple(Socket(component, sockets.query) for component, sockets in rankers.items()),
    )


def is_retriever(wiring: Wiring, name: str) -> bool:
    """Return whether a component finds documents: it gives some, and takes none."""
    return bool(wiring.document_outputs(name)) and not wiring.document_inputs(name)


def is_collapser(wiring: Wiring, name: str) -> bool:
    """Return whether a component collapses near duplicates, and so decides by itself how many documents remain."""
    return wiring.inputs(name).keys() >= _COLLAPSER_INPUTS


def _result(wiring: Wiring, rankers: Set[str], outputs: Mapped, name: str) -> tuple[Socket, ...]:
    """Return the sockets that the user's documents come from."""
    if DOCUMENTS in outputs:
        return tuple(_declared_output(wiring, text, name) for text in outputs[DOCUMENTS])
    givers = [component for component in wiring.names if wiring.document_outputs(component)]
    if not any(is_retriever(wiring, component) for component in givers):
        raise PipelineConfigError(
            f"{name} cannot search: none of its components {wiring.names} retrieves documents (takes a query, returns a "
            "list of documents)"
        )
    last = [component for component in givers if not (wiring.after(component) - {component}) & set(givers)]
    reranked = [component for component in last if rankers & set(wiring.with_ancestors([Socket(component, DOCUMENTS)]))]
    chosen = reranked if len(reranked) == 1 else last
    sockets = [socket for component in chosen for socket in wiring.document_outputs(component)]
    if len(sockets) > 1:
        sockets = [socket for socket in sockets if socket.name == DOCUMENTS and len(chosen) == 1] or sockets
    if len(sockets) == 1:
        return (sockets[0],)
    choices = sockets or [socket for component in givers for socket in wiring.document_outputs(component)]
    raise PipelineConfigError(
        f"{name} has several lists of documents that may be its result: choose one with `outputs: {{documents: SOCKET}}` in "
        f"its YAML, or outputs={{'documents': SOCKET}} in Python; the sockets are {', '.join(map(str, choices))}"
    )


def _declared_output(wiring: Wiring, text: str, name: str) -> Socket:
    socket = Socket(*text.split(".", 1))
    found = wiring.outputs(socket.component).get(socket.name) if socket.component in wiring.names else None
    if found is None or not carries_documents(found.type):
        choices = [str(other) for component in wiring.names for other in wiring.document_outputs(component)]
        raise PipelineConfigError(
            f"{name}: 'outputs' says that the documents come from {text}, which is no list of documents of this pipeline: "
            f"choose one of {', '.join(choices)}"
        )
    return socket


def _ranker(wiring: Wiring, name: str, declared: Mapped) -> RankerSockets | None:
    """Return the sockets of a component that takes a query and the documents of others, and returns documents."""
    inputs = wiring.inputs(name)
    told = [text.split(".", 1)[1] for key in QUERY_NAMES for text in declared.get(key, []) if text.startswith(f"{name}.")]
    texts = [key for key, socket in inputs.items() if socket.type is str and socket.is_mandatory]
    query = next((key for key in (*told, *QUERY_NAMES) if key in inputs and takes(inputs[key].type, str)), None)
    documents = [s for s in wiring.document_inputs(name) if carries_documents(inputs[s.name].type) and wiring.senders(s)]
    ranked = wiring.document_outputs(name)
    query = query or (texts[0] if len(texts) == 1 else None)
    if query is None or len(documents) != 1 or not ranked:
        return None
    best = next((socket.name for socket in ranked if socket.name == DOCUMENTS), ranked[0].name)
    return RankerSockets(name, query, documents[0].name, best, "top_k" in wiring.open_inputs(name))


def _contains_ranker(wiring: Wiring, name: str) -> bool:
    """Return whether a component has a second stage inside: it can leave it out, or it is a SuperComponent with a ranker."""
    inner = getattr(wiring.component(name), "pipeline", None)
    if isinstance(inner, Pipeline):
        inside = Wiring(inner)
        return any(_ranker(inside, other, {}) or _contains_ranker(inside, other) for other in inside.names)
    return RERANK in wiring.inputs(name) and bool(wiring.document_outputs(name))


def _inseparable(wiring: Wiring, ranker: RankerSockets, result: Sequence[Socket]) -> str | None:
    """Return why the ranker cannot be run by itself, as the second of two stages; `None`: it can."""
    name = ranker.component
    if name in wiring.after(name):
        return f"{name} is part of a loop"
    for key, socket in wiring.inputs(name).items():
        if socket.senders and key != ranker.documents:
            return f"{name}.{key} comes from {wiring.senders(Socket(name, key))[0]}"
        if socket.is_mandatory and key not in (ranker.query, ranker.documents, "top_k"):
            return f"{name} also needs {key}"
    around = wiring.document_flow(result, without=name)
    retriever = next((other for other in wiring.names if other in around and is_retriever(wiring, other)), None)
    return f"documents of {retriever} also reach the result without {name}" if retriever else None


def _documents_into(wiring: Wiring, name: str) -> tuple[Socket, ...]:
    return tuple(sender for socket in wiring.document_inputs(name) for sender in wiring.senders(socket))
