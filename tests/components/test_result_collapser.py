"""Collapsing a ranked list: which hits are near duplicates, what is listed in also_in, and what takes the free places."""

import random

import pytest
from conftest import SENTENCES
from haystack import Document, Pipeline
from hypothesis import given
from hypothesis import strategies as st

from rerank_plugin import BM25Retriever, HybridDocumentStore, ResultCollapser, collapse_results
from rerank_plugin.errors import InvalidValueError

ENGLISH = (
    "The function returns a new list with the elements of the old one in sorted order. It accepts a key, which is called "
    "once for each element, and a flag that reverses the order. The sort is stable: elements with equal keys keep their "
    "order. To sort a list in place, call its own method, which is a little faster and returns nothing."
)
RUSSIAN = (
    "Чайник очищают от накипи лимонной кислотой. Растворите двадцать граммов в литре воды, доведите до кипения и оставьте "
    "на полчаса. После этого воду сливают, а чайник дважды ополаскивают чистой водой и снова кипятят."
)


def doc(content, source=None, **meta):
    return Document(content=content, meta={**({"source": source} if source else {}), **meta})


def changed(text, words, *, seed=1):
    """The text with so many of its words replaced."""
    parts = text.split()
    for position in random.Random(seed).sample(range(len(parts)), words):
        parts[position] = f"другое{position}"
    return " ".join(parts)


@pytest.mark.parametrize("text", [ENGLISH, RUSSIAN])
def test_u6_exact_and_near_duplicates_collapse_into_the_better_hit(text):
    documents = [
        doc(text, "/docs/3.13/sorting.html", page=4),
        doc("Something else altogether.", "/docs/other.html"),
        doc(text, "/docs/3.12/sorting.html", section="Sorting > Basics"),
        doc(changed(text, 1), "/docs/3.11/sorting.html"),
        doc(text.upper().replace(".", " !\n"), "/docs/3.10/sorting.html"),
    ]
    result = collapse_results(documents)
    first, second = result["documents"]
    assert first.content == text
    assert first.meta["also_in"] == [
        {"source": "/docs/3.12/sorting.html", "section": "Sorting > Basics"},
        {"source": "/docs/3.11/sorting.html"},
        {"source": "/docs/3.10/sorting.html"},
    ]
    assert "also_in" not in second.meta
    assert result["status"] == {"candidates": 5, "collapsed": 3, "over_limit": 0}
    assert "also_in" not in documents[0].meta


def test_texts_that_share_a_third_of_their_words_stay():
    documents = [
        doc(ENGLISH),
        doc(changed(ENGLISH, 12)),
        doc("Use citric acid for the kettle."),
        doc("Use citric acid for the pot."),
    ]
    assert collapse_results(documents)["documents"] == documents


def test_the_threshold_decides():
    pair = [doc(ENGLISH), doc(changed(ENGLISH, 6))]
    assert len(collapse_results(pair, threshold=0.9)["documents"]) == 2
    assert len(collapse_results(pair, threshold=0.5)["documents"]) == 1
    assert len(collapse_results([doc(ENGLISH), doc(ENGLISH + "\n")], threshold=1)["documents"]) == 1


def test_a_short_text_under_two_titles_says_two_things():
    documents = [doc("Born in 1912 in London.", title="Alan Turing"), doc("Born in 1912 in London.", title="Someone else")]
    assert len(collapse_results(documents)["documents"]) == 2
    assert len(collapse_results([documents[0], documents[0]])["documents"]) == 1


@pytest.mark.parametrize("content", [None, "", " \n"])
def test_documents_without_text_are_not_duplicates(content):
    documents = [doc(content, title="same", n=1), doc(content, title="same", n=2)]
    assert collapse_results(documents)["documents"] == documents


def test_symbols_alone_are_compared_as_they_are():
    assert len(collapse_results([doc("}", "a"), doc("}", "b"), doc("{", "c")])["documents"]) == 2


def test_places_listed_while_indexing_are_kept_and_none_is_listed_twice():
    a = doc(ENGLISH, "/a.md", also_in=[{"source": "/b.md"}, {"source": "/c.md", "page": 2}])
    d = doc(changed(ENGLISH, 1), "/d.md", also_in=[{"source": "/b.md"}, {"source": "/a.md"}])
    (kept,) = collapse_results([a, d])["documents"]
    assert kept.meta["also_in"] == [{"source": "/b.md"}, {"source": "/c.md", "page": 2}, {"source": "/d.md"}]


def test_without_a_source_the_id_is_listed_and_in_a_corpus_the_document():
    without = [doc(ENGLISH), doc(ENGLISH, n=2)]
    assert collapse_results(without)["documents"][0].meta["also_in"] == [{"id": without[1].id}]
    corpus = [doc(ENGLISH, "/corpus.jsonl", doc_id=f"d{i}") for i in range(2)]
    assert collapse_results(corpus)["documents"][0].meta["also_in"] == [{"source": "/corpus.jsonl", "doc_id": "d1"}]


def test_u6_hits_of_a_file_are_limited_and_others_take_their_places():
    documents = [doc(f"a {i}", "/a.md") for i in range(5)] + [doc("b", "/b.md"), doc("c"), doc("d"), doc("e", "/b.md")]
    result = collapse_results(documents, max_per_source=2, top_k=5)
    assert [document.content for document in result["documents"]] == ["a 0", "a 1", "b", "c", "d"]
    assert result["status"]["over_limit"] == 3


def test_the_limit_counts_documents_of_a_corpus_file_not_the_file():
    documents = [doc(f"text {i}", "/corpus.jsonl", doc_id=f"d{i // 2}") for i in range(6)]
    kept = collapse_results(documents, max_per_source=1)["documents"]
    assert [document.meta["doc_id"] for document in kept] == ["d0", "d1", "d2"]


def test_duplicates_below_the_last_place_are_still_listed():
    documents = [doc(ENGLISH, "/a.md"), doc("other", "/b.md"), doc(ENGLISH, "/c.md")]
    (kept,) = collapse_results(documents, top_k=1)["documents"]
    assert kept.meta["also_in"] == [{"source": "/c.md"}]


TEXTS = [ENGLISH, changed(ENGLISH, 1), changed(ENGLISH, 20), RUSSIAN, "}", "", "short", *SENTENCES]


@given(
    st.lists(st.tuples(st.sampled_from(TEXTS), st.sampled_from([None, "/a", "/b", "/c"])), max_size=12),
    st.booleans(),
    st.none() | st.integers(1, 3),
    st.none() | st.integers(1, 6),
)
def test_the_result_is_a_subsequence_within_the_limits_and_nothing_is_lost(pairs, collapse, per_source, top_k):
    documents = [doc(text, source, n=n) for n, (text, source) in enumerate(pairs)]
    result = collapse_results(documents, collapse=collapse, max_per_source=per_source, top_k=top_k)
    numbers = [document.meta["n"] for document in result["documents"]]
    assert numbers == sorted(numbers)
    assert top_k is None or len(numbers) <= top_k
    sources = [document.meta["source"] for document in result["documents"] if "source" in document.meta]
    assert per_source is None or all(sources.count(source) <= per_source for source in sources)
    status = result["status"]
    if top_k is None or len(numbers) < top_k:
        assert len(numbers) + status["collapsed"] + status["over_limit"] == len(documents)
    if not collapse and per_source is None:
        assert result["documents"] == documents[:top_k]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_per_source": 0}, "max_per_source must be a whole number of at least 1, got 0"),
        ({"top_k": 0}, "top_k must be a whole number of at least 1, got 0"),
        ({"collapse": 1}, "collapse must be true or false, got 1"),
        ({"threshold": 0}, "threshold must be a finite number above 0, got 0"),
        ({"threshold": 1.5}, "threshold"),
        ({"shingle_size": 0}, "shingle_size must be a whole number of at least 1, got 0"),
    ],
)
def test_wrong_values_are_refused(arguments, message):
    with pytest.raises(InvalidValueError, match=message):
        ResultCollapser(**arguments)
    with pytest.raises(InvalidValueError, match=message):
        collapse_results([], **arguments)


def test_what_is_not_a_document_is_named():
    with pytest.raises(InvalidValueError, match=r"documents\[0\] must be a Document, got 'text'"):
        ResultCollapser().run(documents=["text"])
    with pytest.raises(InvalidValueError, match="documents must be a list"):
        ResultCollapser().run(documents="text")


def test_a_call_overrides_the_configuration():
    documents = [doc(ENGLISH, "/a.md"), doc(ENGLISH, "/a.md", page=2), doc("b", "/a.md", page=3)]
    collapser = ResultCollapser(collapse=True, top_k=1)
    assert len(collapser.run(documents=documents)["documents"]) == 1
    assert len(collapser.run(documents=documents, top_k=3)["documents"]) == 2
    assert len(collapser.run(documents=documents, top_k=3, collapse=False)["documents"]) == 3
    assert len(collapser.run(documents=documents, top_k=3, collapse=False, max_per_source=1)["documents"]) == 1


def test_behind_a_first_stage_in_a_pipeline_that_goes_through_yaml():
    store = HybridDocumentStore()
    store.write_documents([doc(text, f"/{i}.md") for i, text in enumerate([*SENTENCES, *SENTENCES])])
    pipeline = Pipeline()
    pipeline.add_component("bm25_retriever", BM25Retriever(store, top_k=16))
    pipeline.add_component("collapser", ResultCollapser(max_per_source=2, top_k=3, threshold=0.9, shingle_size=2))
    pipeline.connect("bm25_retriever.documents", "collapser.documents")
    result = pipeline.run({"bm25_retriever": {"query": "the red fox, the blue sky and the capital"}})["collapser"]
    assert len({document.content for document in result["documents"]}) == 3
    assert all(len(document.meta["also_in"]) == 1 for document in result["documents"])
    again = Pipeline.loads(pipeline.dumps()).get_component("collapser")
    assert (again.max_per_source, again.top_k, again.threshold, again.shingle_size) == (2, 3, 0.9, 2)
