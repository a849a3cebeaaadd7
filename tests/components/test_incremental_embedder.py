"""Only what has changed is embedded again."""

import pytest
from haystack import Document, Pipeline, component, default_from_dict, default_to_dict
from haystack.components.writers import DocumentWriter
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack.document_stores.types import DuplicatePolicy

from rerank_plugin import HybridDocumentStore, IncrementalDocumentEmbedder
from rerank_plugin.errors import InvalidValueError
from rerank_plugin.progress import following_parts

EMBEDDED: list[str] = []


@component
class LengthEmbedder:
    """Counts letters and words; records the texts of each call."""

    def __init__(self, prefix="", meta_fields_to_embed=None, batch_size=32):
        self.prefix = prefix
        self.meta_fields_to_embed = meta_fields_to_embed
        self.batch_size = batch_size

    def to_dict(self):
        return default_to_dict(
            self, prefix=self.prefix, meta_fields_to_embed=self.meta_fields_to_embed, batch_size=self.batch_size
        )

    @classmethod
    def from_dict(cls, data):
        return default_from_dict(cls, data)

    @component.output_types(documents=list[Document])
    def run(self, documents: list[Document]):
        def text(document):
            return " ".join(
                [self.prefix, *(document.meta[name] for name in self.meta_fields_to_embed or []), document.content]
            )

        EMBEDDED.extend(text(document).strip() for document in documents)
        return {
            "documents": [
                Document(**{**document.to_dict(flatten=False), "embedding": [float(len(text(document))), 1.0]})
                for document in documents
            ]
        }


@pytest.fixture(autouse=True)
def nothing_embedded():
    EMBEDDED.clear()


@pytest.fixture(params=[HybridDocumentStore, InMemoryDocumentStore])
def store(request):
    return request.param()


def write(store, texts, embedder=None, **meta):
    documents = [Document(content=text, meta={"title": text[:3], **meta}) for text in texts]
    made = IncrementalDocumentEmbedder(embedder or LengthEmbedder(), store).run(documents=documents)
    store.write_documents(made["documents"], policy=DuplicatePolicy.OVERWRITE)
    assert [document.content for document in made["documents"]] == texts
    assert documents[0].embedding is None, "what comes in is not changed"
    return made


def test_only_new_texts_are_embedded(store):
    first = write(store, ["one", "two", "three", "two"])
    assert sorted(EMBEDDED) == ["one", "three", "two"], "a text that stands there twice is embedded once"
    assert first["reused"] == 1
    EMBEDDED.clear()
    second = write(store, ["zero", "two", "one", "four"], source="a file that has changed")
    assert EMBEDDED == ["zero", "four"]
    assert second["reused"] == 2
    assert [document.embedding for document in second["documents"]] == [[5.0, 1.0], [4.0, 1.0], [4.0, 1.0], [5.0, 1.0]]
    assert second["documents"][1].meta["source"] == "a file that has changed"
    assert write(store, ["one", "two"])["reused"] == 2
    assert IncrementalDocumentEmbedder(LengthEmbedder(), store).run(documents=[]) == {"documents": [], "reused": 0}


def test_a_different_embedder_configuration_embeds_again(store):
    write(store, ["one"])
    for embedder, expected in (
        (LengthEmbedder(batch_size=2), []),
        (LengthEmbedder(prefix="passage:"), ["passage: one"]),
        (LengthEmbedder(meta_fields_to_embed=["title"]), ["one one"]),
    ):
        EMBEDDED.clear()
        write(store, ["one"], embedder)
        assert expected == EMBEDDED
    EMBEDDED.clear()
    write(store, ["one"], LengthEmbedder(meta_fields_to_embed=["title"]), title="two")
    assert EMBEDDED == ["two one"], "a field that is embedded has changed"


def test_a_stored_document_without_embedding_is_embedded(store):
    made = write(store, ["one"])
    (document,) = made["documents"]
    store.write_documents([Document(id=document.id, content="one", meta=document.meta)], policy=DuplicatePolicy.OVERWRITE)
    EMBEDDED.clear()
    assert write(store, ["one"])["documents"][0].embedding == [4.0, 1.0]
    assert EMBEDDED == ["one"]


def test_in_a_pipeline_from_yaml(tmp_path, monkeypatch):
    monkeypatch.setenv("HAYSTACK_DESERIALIZATION_ALLOWLIST", f"{__name__},rerank_plugin")
    pipeline = Pipeline()
    store = HybridDocumentStore(tmp_path)
    pipeline.add_component("embedder", IncrementalDocumentEmbedder(LengthEmbedder(prefix="p"), store))
    pipeline.add_component("writer", DocumentWriter(store, policy=DuplicatePolicy.OVERWRITE))
    pipeline.connect("embedder.documents", "writer.documents")
    loaded = Pipeline.loads(pipeline.dumps(), allowed_modules=[__name__, "rerank_plugin"])
    for expected in (0, 1):
        result = loaded.run({"embedder": {"documents": [Document(content="one")]}})
        assert result["embedder"]["reused"] == expected
    assert EMBEDDED == ["p one"]
    assert loaded.to_dict() == pipeline.to_dict()
    loaded.get_component("embedder").close()
    loaded.get_component("writer").document_store.close()


@pytest.mark.parametrize(
    ("parameters", "message"), [((None, InMemoryDocumentStore()), "embedder"), ((LengthEmbedder(), 5), "store")]
)
def test_a_wrong_embedder_or_store_is_an_error(parameters, message):
    with pytest.raises(InvalidValueError, match=f"{message} must be a document"):
        IncrementalDocumentEmbedder(*parameters)


@component
class ForgetfulEmbedder(LengthEmbedder):
    """Returns all documents but the last."""

    @component.output_types(documents=list[Document])
    def run(self, documents: list[Document]):
        return {"documents": documents[:-1]}


@pytest.mark.parametrize("documents", [None, "text", ["text"], Document(content="one"), [Document(content="one"), None]])
def test_v_values_that_are_not_documents_are_an_error(documents):
    with pytest.raises(InvalidValueError, match="documents must be a list of Documents, got"):
        IncrementalDocumentEmbedder(LengthEmbedder(), InMemoryDocumentStore()).run(documents=documents)


def test_v_an_embedder_that_loses_documents_is_named():
    embedder = IncrementalDocumentEmbedder(ForgetfulEmbedder(), InMemoryDocumentStore())
    with pytest.raises(InvalidValueError, match="embedder ForgetfulEmbedder returned 1 documents for 2"):
        embedder.run(documents=[Document(content="one"), Document(content="two")])


def test_u7_many_documents_are_embedded_in_parts_that_are_reported(store):
    texts, reports = [f"text {number:04}" for number in range(1100)], []
    embedder = IncrementalDocumentEmbedder(LengthEmbedder(), store)
    with following_parts(lambda *report: reports.append(report)):
        made = embedder.run(documents=[Document(content=text) for text in texts])
    assert reports == [("passages", done, 1100) for done in (512, 1024, 1100)]
    assert sorted(EMBEDDED) == texts
    assert [document.content for document in made["documents"]] == texts
