"""The async methods: Haystack's own tests, and that the event loop is not blocked."""

import asyncio

import pytest
from haystack import Document
from haystack.document_stores.errors import DuplicateDocumentError
from haystack.testing.document_store_async import (
    CountDocumentsAsyncTest,
    CountDocumentsByFilterAsyncTest,
    CountUniqueMetadataByFilterAsyncTest,
    DeleteAllAsyncTest,
    DeleteByFilterAsyncTest,
    DeleteDocumentsAsyncTest,
    FilterDocumentsAsyncTest,
    GetMetadataFieldMinMaxAsyncTest,
    GetMetadataFieldsInfoAsyncTest,
    GetMetadataFieldUniqueValuesAsyncTest,
    UpdateByFilterAsyncTest,
    WriteDocumentsAsyncTest,
)

from rerank_plugin.store import HybridDocumentStore


class TestHaystackAsyncMixins(
    CountDocumentsAsyncTest,
    WriteDocumentsAsyncTest,
    DeleteDocumentsAsyncTest,
    DeleteAllAsyncTest,
    DeleteByFilterAsyncTest,
    UpdateByFilterAsyncTest,
    FilterDocumentsAsyncTest,
    CountDocumentsByFilterAsyncTest,
    CountUniqueMetadataByFilterAsyncTest,
    GetMetadataFieldsInfoAsyncTest,
    GetMetadataFieldMinMaxAsyncTest,
    GetMetadataFieldUniqueValuesAsyncTest,
):
    @pytest.fixture(params=["memory", "folder"])
    def document_store(self, request, tmp_path):
        store = HybridDocumentStore(tmp_path / "index" if request.param == "folder" else None)
        yield store
        store.close()

    async def test_write_documents_async(self, document_store):
        docs = [Document(content="one"), Document(content="two")]
        assert await document_store.write_documents_async(docs) == 2
        with pytest.raises(DuplicateDocumentError):
            await document_store.write_documents_async(docs[:1])
        self.assert_documents_are_equal(await document_store.filter_documents_async(), docs)


async def test_the_event_loop_goes_on_while_another_process_writes(tmp_path):
    store, other = HybridDocumentStore(tmp_path), HybridDocumentStore(tmp_path)
    store.write_documents([Document(id="a", content="fox")])
    with other._session.writing():
        waiting = asyncio.create_task(store.write_documents_async([Document(id="b", content="fox")]))
        await asyncio.sleep(0)  # the task begins; if it blocked the loop, it would be over, with an error, when we are back
        assert not waiting.done()
    assert await asyncio.wait_for(waiting, 30) == 1


@pytest.mark.slow
async def test_many_callers_at_once_get_what_one_gets(tmp_path):
    store = HybridDocumentStore(tmp_path)
    await store.write_documents_async([Document(id=f"{i}", content=f"fox {i}", embedding=[1.0, i]) for i in range(30)])
    alone = store.bm25_retrieval("fox 7"), store.embedding_retrieval([1.0, 2.0])
    words = await asyncio.gather(*(store.bm25_retrieval_async("fox 7") for _ in range(16)))
    vectors = await asyncio.gather(*(store.embedding_retrieval_async([1.0, 2.0]) for _ in range(16)))
    assert all(found == alone[0] for found in words)
    assert all(found == alone[1] for found in vectors)


async def test_a_subclass_that_overrides_a_method_has_the_twin_of_its_own():
    class Loud(HybridDocumentStore):
        def count_documents(self):
            return 42

    assert await Loud().count_documents_async() == 42
