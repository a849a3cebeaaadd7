"""Keyword search: analysis, scoring, and agreement of both engines."""

import math
import random

import pytest
from haystack import Document
from hypothesis import given, settings
from hypothesis import strategies as st

from rerank_plugin import BM25Retriever
from rerank_plugin.collections.beir import BeirDataset
from rerank_plugin.errors import InvalidValueError
from rerank_plugin.store import HybridDocumentStore
from rerank_plugin.store.keywords.analysis import make_analyzer
from rerank_plugin.store.keywords.highlights import span_finder

ENGINES = ["tantivy", "rank_bm25"]

BIRDS = {
    "swift": "Swifts sleep while flying. They land only to nest.",
    "owl": "The owl hunts at night. An owl turns its head far round.",
    "penguin": "Penguins cannot fly, but they dive deep for fish.",
    "heron": "A heron stands still in shallow water and waits for fish.",
    "robin": "The robin sings in winter, too.",
    "cuckoo": "The cuckoo lays its egg in the nest of a robin.",
}
"""Six sentences about birds, written for this test."""


def make_store(texts, **parameters):
    store = HybridDocumentStore(**parameters)
    store.write_documents([Document(id=key, content=text) for key, text in texts.items()])
    return store


def ranking(store, query, top_k=10, **parameters):
    return [document.id for document in store.bm25_retrieval(query, top_k=top_k, **parameters)]


@pytest.mark.parametrize("engine", ENGINES)
def test_known_scores(engine):
    """BM25 computed by hand: idf = ln(1 + (N - n + 0.5) / (n + 0.5)), k1 = 1.2, b = 0.75."""
    store = make_store({"a": "fox fox fox", "b": "fox", "c": "hen house", "d": ""}, keyword_engine=engine)
    mean = (3 + 1 + 2) / 3
    idf = math.log(1 + (3 - 2 + 0.5) / (2 + 0.5))

    def score(frequency, length):
        return idf * frequency * 2.2 / (frequency + 1.2 * (0.25 + 0.75 * length / mean))

    found = store.bm25_retrieval("foxes")
    assert [document.id for document in found] == ["a", "b"]
    assert [document.score for document in found] == pytest.approx([score(3, 3), score(1, 1)], rel=1e-5)
    assert all(type(document.score) is float for document in found)
    twice = store.bm25_retrieval("fox fox")
    assert [document.score for document in twice] == pytest.approx([2 * score(3, 3), 2 * score(1, 1)], rel=1e-5)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("nesting", ["swift", "cuckoo"]),
        ("FLY", ["penguin", "swift"]),
        ("owl's head", ["owl"]),
        ("robins' eggs?", ["cuckoo", "robin"]),
        ("ostrich", []),
        ("?!", []),
    ],
)
def test_words_are_found_in_other_forms(engine, query, expected):
    assert ranking(make_store(BIRDS, keyword_engine=engine), query) == expected


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("query", ["ёжик", "ежики", "ЁЖИКОВ", "е\u0301жик", "е\u0308жик"])
def test_russian_stems_yo_and_stress_marks(engine, query):
    texts = {"a": "Ёжики вышли из тумана.", "b": "Е́жик спит зимой под листьями.", "c": "Лошадь бежит по полю."}
    store = make_store(texts, keyword_engine=engine, language="ru")
    assert sorted(ranking(store, query)) == ["a", "b"]
    assert ranking(store, "бегущая лошадей полями") == ["c"]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("language", "text", "function_word", "word"),
    [("en", "The owl is in the tree", "the", "trees"), ("ru", "Сова сидит на её дереве", "её", "деревья")],
)
def test_stop_words_are_left_out_only_on_demand(engine, language, text, function_word, word):
    kept = make_store({"a": text}, keyword_engine=engine, language=language)
    dropped = make_store({"a": text}, keyword_engine=engine, language=language, stop_words=True)
    assert ranking(kept, function_word) == ["a"]
    assert ranking(kept, f"{function_word} {function_word} fox") == []
    assert ranking(dropped, function_word) == []
    assert ranking(dropped, word) == ["a"]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("language", ["en", "ru"])
def test_function_words_of_a_question_do_not_outweigh_what_it_asks(engine, language):
    texts = {
        "asks": "How do I do this? How can I do that? I do not know how I do it.",
        "answers": "Descaling a kettle takes vinegar.",
        "спрашивает": "Как мне это сделать? Как же мне быть? Я не знаю, как.",
        "отвечает": "Накипь в чайнике растворяет уксус.",
        **{f"other {number}": f"passage number {number}" for number in range(9)},
    }
    store = make_store(texts, keyword_engine=engine, language=language)
    assert ranking(store, "how do I descale a kettle") == ["answers"]
    assert ranking(store, "как мне удалить накипь") == ["отвечает"]
    assert ranking(store, "how do I") == ["asks"]
    operators = store.bm25_retrieval('"how do I" kettle', operators=True)
    assert [document.id for document in operators] == ["asks"], "a phrase is searched for as it is"


@pytest.mark.parametrize("engine", ENGINES)
def test_titles_count_and_need_not_be_texts(engine):
    store = HybridDocumentStore(keyword_engine=engine)
    documents = [
        Document(id="a", content="body", meta={"title": "Lighthouses"}),
        Document(id="b", meta={"title": "The lighthouse keeper"}),
        Document(id="c", content="a lighthouse", meta={"title": 7}),
        Document(id="d", content=None, meta={"title": None}),
    ]
    store.write_documents(documents)
    assert sorted(ranking(store, "lighthouse")) == ["a", "b", "c"]
    assert ranking(store, "7") == ["c"], "a number is found by its digits"


FIELDS = [
    Document(id="author", content="on stones", meta={"authors": ["Reed", "Marsh"], "journal": {"name": "Pond"}}),
    Document(id="title", content="on water", meta={"title": "The reed"}),
    Document(id="text", content="a reed by the pond", meta={"title": "Plants", "year": 1971}),
    Document(id="none", meta={"title": "Nothing"}),
]


@pytest.mark.parametrize("engine", ENGINES)
def test_chosen_fields_are_searched_and_weighed(engine, tmp_path):
    """A word in a field of weight 3 counts as three words, in frequency and in length."""
    weights = {"meta.authors": 3, "content": 1, "journal.name": 1, "year": 1}
    store = HybridDocumentStore(tmp_path, keyword_engine=engine, search_fields=weights)
    store.write_documents(FIELDS)
    plain = HybridDocumentStore(keyword_engine=engine)
    repeated = {
        "author": "Reed Marsh Reed Marsh Reed Marsh on stones Pond",
        "title": "on water",
        "text": FIELDS[2].content + " 1971",
    }
    plain.write_documents([Document(id=key, content=text) for key, text in repeated.items()])
    for query in ("reed", "pond", "1971 marsh", "on"):
        ours, theirs = ([(document.id, document.score) for document in s.bm25_retrieval(query)] for s in (store, plain))
        assert ours
        assert [key for key, _ in ours] == [key for key, _ in theirs]
        assert [score for _, score in ours] == pytest.approx([score for _, score in theirs])
    store.update_by_filter({"field": "id", "operator": "==", "value": "none"}, {"authors": "Reed"})
    assert sorted(ranking(store, "reed")) == ["author", "none", "text"], "what was not searchable has become so"
    store.close()
    again = HybridDocumentStore(tmp_path, search_fields={"year": 1, "journal.name": 1, "authors": 3, "content": 1})
    assert sorted(ranking(again, "reed")) == ["author", "none", "text"], (
        "the order in which fields are named does not matter"
    )
    assert again.settings()["search_fields"] == {"authors": 3, "journal.name": 1, "year": 1, "content": 1}
    again.close()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"search_fields": {}}, "search_fields must map names"),
        ({"search_fields": ["title"]}, "search_fields must map names"),
        ({"search_fields": {"": 1}}, "'' is not the name"),
        ({"search_fields": {"title": 1.5}}, "weight of 'title' must be a whole number from 1 to 20, got 1.5"),
        ({"search_fields": {"title": 21}}, "whole number from 1 to 20, got 21"),
        ({"bm25_parameters": {"k": 1}}, "k1, b or both, got {'k': 1}"),
        ({"bm25_parameters": {"b": 1.1}}, "b must be a number from 0 to 1, got 1.1"),
        ({"bm25_parameters": {"k1": -1}}, "k1 must be a number from 0 to 100, got -1"),
        ({"bm25_parameters": {"k1": 0.9}, "keyword_engine": "tantivy"}, "tantivy.* supports only k1"),
    ],
)
def test_settings_that_make_no_sense(parameters, message):
    with pytest.raises(InvalidValueError, match=message):
        HybridDocumentStore(**parameters)


def test_parameters_of_bm25(tmp_path):
    """Computed by hand: idf * tf * (k1 + 1) / (tf + k1 * (1 - b + b * length / mean length))."""
    texts = {"a": "fox fox fox", "b": "fox", "c": "hen house"}
    store = make_store(texts, path=tmp_path, keyword_engine="rank_bm25", bm25_parameters={"k1": 0.5, "b": 0.0})
    idf = math.log(1 + (3 - 2 + 0.5) / (2 + 0.5))
    found = store.bm25_retrieval("fox")
    assert [document.score for document in found] == pytest.approx([idf * 3 * 1.5 / 3.5, idf * 1 * 1.5 / 1.5])
    usual = HybridDocumentStore(tmp_path)
    assert usual.bm25_retrieval("fox")[0].score != found[0].score, "they belong to the store, not to the index"
    store.close()
    usual.close()
    other = HybridDocumentStore(tmp_path / "other")
    other.write_documents([Document(content="fox")])
    contradicting = HybridDocumentStore(tmp_path / "other", bm25_parameters={"b": 0.5})
    with pytest.raises(InvalidValueError, match="choose keyword_engine 'rank_bm25'"):
        contradicting.bm25_retrieval("fox")
    other.close()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("", "query is empty: pass a text"),
        (" \n\t", "query is empty"),
        (None, "query must be a string, got None"),
        (5, "query must be a string, got 5"),
        (b"owl", "query must be a string, got b'owl'"),
        ("owl " * 250_001, "query has 1,000,004 characters, the maximum is 1,000,000"),
        ("owl \ud800", "query is not valid Unicode .character 4.*errors='replace'"),
    ],
)
def test_v_a_query_that_is_none_is_an_error(engine, query, message):
    store = make_store(BIRDS, keyword_engine=engine)
    for operators in (False, True):
        with pytest.raises(InvalidValueError, match=message):
            store.bm25_retrieval(query, operators=operators)


@pytest.mark.parametrize("top_k", [0, -1, 2.5, "5", True, None, float("nan")])
def test_v_a_number_of_documents_that_is_none_is_an_error(top_k):
    store = make_store(BIRDS)
    for search in (
        lambda: store.bm25_retrieval("owl", top_k=top_k),
        lambda: store.embedding_retrieval([1.0], top_k=top_k),
        lambda: store.recall(top_k=top_k),
    ):
        with pytest.raises(InvalidValueError, match="top_k must be a whole number of at least 1, got"):
            search()


@pytest.mark.parametrize("engine", ENGINES)
def test_v_a_number_of_documents_beyond_all_bounds_is_all_of_them(engine):
    assert len(ranking(make_store(BIRDS, keyword_engine=engine), "owl robin", top_k=10**400)) == 3


@pytest.mark.parametrize("engine", ENGINES)
def test_equal_scores_come_by_id_and_the_cut_is_by_id_too(engine):
    names = [f"{number:03}" for number in range(300)]
    shuffled = random.Random(5).sample(names, len(names))
    store = make_store(dict.fromkeys(shuffled, "the same words"), keyword_engine=engine)
    assert ranking(store, "words", top_k=7) == names[:7]
    assert ranking(store, "words", top_k=299) == names[:299]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("allowed", [0, 3, 60, 400])
def test_filters_come_before_the_search(engine, allowed):
    """Whatever share of the documents a filter allows, top_k are returned, in the order of the unfiltered ranking."""
    words = ["fox", "hen", "den", "barn", "field"]
    chance = random.Random(1)
    texts = [" ".join(chance.choices(words, weights=[1, 9, 9, 9, 9], k=chance.randint(3, 12))) for _ in range(500)]
    store = HybridDocumentStore(keyword_engine=engine)
    store.write_documents([Document(id=f"{i:03}", content=text, meta={"n": i}) for i, text in enumerate(texts)])
    # The documents with the most foxes are the ones that the filter excludes.
    by_fox = ranking(store, "fox hen den barn field", top_k=500)
    assert len(by_fox) == 500
    expected = by_fox[500 - allowed :]
    chosen = [int(key) for key in expected]
    found = ranking(store, "fox hen den barn field", 50, filters={"field": "meta.n", "operator": "in", "value": chosen})
    assert found == expected[:50]


def test_a_long_query_and_a_long_word_are_fine():
    store = make_store({**BIRDS, "long": "x" * 100_000 + " owl"})
    assert ranking(store, "x" * 100_000) == []
    assert len(ranking(store, "owl " * 20_000 + " ".join(map(str, range(5_000))))) == 2


@pytest.mark.parametrize("engine", ENGINES)
def test_v_a_word_a_thousand_times_is_weighed_and_looked_up_once(engine):
    store = make_store(BIRDS, keyword_engine=engine)
    once = {d.id: d.score for d in store.bm25_retrieval("owl robin")}
    many = {d.id: d.score for d in store.bm25_retrieval("owl robin " * 50_000)}
    assert many == pytest.approx({key: 50_000 * score for key, score in once.items()}, rel=1e-4)
    required = store.bm25_retrieval("+owl " * 50_000, operators=True)
    assert [document.id for document in required] == ["owl"]


@pytest.mark.slow
def test_both_engines_rank_a_real_corpus_alike():
    """The paragraphs of Python's language reference: a few thousand passages of prose, code and tables."""
    topics = pytest.importorskip("pydoc_data.topics").topics
    passages = [part for text in topics.values() for part in text.split("\n\n") if len(part) > 80]
    texts = {f"{number:05}": passage for number, passage in enumerate(passages)}
    stores = [make_store(texts, keyword_engine=engine) for engine in ENGINES]
    queries = [" ".join(passage.split()[3:11]) for passage in random.Random(3).sample(passages, 40)]
    overlaps = []
    for query in queries:
        tantivy, rank_bm25 = (store.bm25_retrieval(query, top_k=10) for store in stores)
        overlaps.append(len({document.id for document in tantivy} & {document.id for document in rank_bm25}) / 10)
        # tantivy rounds lengths of more than 40 words, which changes a score by a few percent.
        assert tantivy[0].score == pytest.approx(rank_bm25[0].score, rel=0.05)
    assert sum(overlaps) / len(overlaps) > 0.9


def rank_biased_overlap(one, other, p=0.9):
    """Extrapolated RBO of two rankings of equal length (Webber, Moffat and Zobel 2010, equation 23)."""
    depth = min(len(one), len(other))
    agreement = [len(set(one[:d]) & set(other[:d])) / d for d in range(1, depth + 1)]
    if not agreement:
        return float(len(one) == len(other))
    return agreement[-1] * p**depth + (1 - p) / p * sum(a * p**d for d, a in enumerate(agreement, start=1))


def test_rank_biased_overlap():
    assert rank_biased_overlap("abcd", "abcd") == pytest.approx(1)
    assert rank_biased_overlap("abcd", "efgh") == 0
    # by hand: agreements 0, 1, 1
    assert rank_biased_overlap("abc", "bac", p=0.5) == pytest.approx(1 / 8 + 1 * (1 / 4 + 1 / 8))


@pytest.mark.slow
@pytest.mark.parametrize("language", ["en", "ru"])
def test_both_engines_rank_the_sample_corpus_alike(repository, language):
    dataset = BeirDataset(repository / "sample_corpus")
    documents = [Document(id=d.id, content=d.text, meta={"title": d.title}) for d in dataset.documents()]
    stores = [HybridDocumentStore(keyword_engine=engine, language=language) for engine in ENGINES]
    for store in stores:
        store.write_documents(documents)
    queries = [query.text for query in dataset.queries("test").values() if query.metadata["lang"] == language]
    overlaps = [rank_biased_overlap(*(ranking(store, query, top_k=50) for store in stores)) for query in queries]
    assert len(overlaps) >= 50
    # tantivy rounds lengths of more than 40 words, so near ties may swap places.
    assert sum(overlaps) / len(overlaps) > 0.97
    assert min(overlaps) > 0.8


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("language", "text", "query", "expected"),
    [
        ("en", "Foxes hunt. A fox's den; the FOX!", "hunting fox", ["Foxes", "hunt", "fox", "FOX"]),
        ("en", "A state-of-the-art well-known art.", "art", ["art", "art"]),
        ("en", "A state-of-the-art art.", "stateoftheart", ["state-of-the-art"]),
        ("en", "It cost 12,500 pounds, 12 and 500", "12500", ["12,500"]),
        ("en", "No match here", "match", ["match"]),
        ("en", "A soft­ware and café or café", "software café", ["soft­ware", "café", "café"]),
        ("ru", "Ёлка стои́т, ёлки стоят у дома", "елка дом", ["Ёлка", "ёлки", "дома"]),
        ("simple", "東京都は日本の首都です", "東京 日本", ["東京", "日本"]),
        ("simple", "東京都は日本の首都です", "東京都", ["東京都"]),
        ("hi", "हिन्दी भाषा", "भाषा", ["भाषा"]),
    ],
)
def test_highlights(engine, language, text, query, expected):
    store = HybridDocumentStore(keyword_engine=engine, language=language)
    store.write_documents([Document(id="a", content=text, meta={"title": query}), Document(id="b", meta={"title": query})])
    found = {document.id: document.meta["highlights"] for document in store.bm25_retrieval(query, highlights=True)}
    assert [text[start:end] for start, end in found["a"]] == expected
    assert found["b"] == [], "there is no content"
    assert "highlights" not in store.filter_documents()[0].meta
    retriever = BM25Retriever.from_dict(BM25Retriever(store, highlights=True, operators=True).to_dict())
    assert retriever.highlights
    retriever.document_store = store
    found = retriever.run(query=f"+{query.split()[0]}")["documents"]
    assert any(document.meta["highlights"] for document in found)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=60), st.text(min_size=1, max_size=10))
def test_highlights_of_any_text_are_in_it(text, query):
    analyze = make_analyzer("en", stop_words=False)
    spans = span_finder(analyze(query), analyze)(text)
    flat = [position for span in spans for position in span]
    assert flat == sorted(flat)
    assert all(0 <= start < end <= len(text) for start, end in spans)


@pytest.fixture(scope="module")
def birds():
    return {engine: make_store(BIRDS, keyword_engine=engine) for engine in ENGINES}


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(
    st.text(min_size=1)
    | st.lists(st.sampled_from(['"', "(", ")", "AND", "OR", "owl", "+", "-", ":", "*", "~", "fly"])).map(" ".join)
)
def test_no_text_is_a_syntax_error(birds, query):
    if not query.strip():
        return
    assert ranking(birds["tantivy"], query) == ranking(birds["rank_bm25"], query)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("language", "text", "query"),
    [
        ("de", "Die Häuser stehen am Fluss.", "haus"),
        ("fr", "Les chevaux nationaux couraient.", "national"),
        ("es", "Las canciones populares", "canción"),
        ("ta", "புத்தகங்கள் நல்லவை", "புத்தகம்"),
        ("hi", "लड़कों की किताबें", "किताब"),
        ("ru", "Зелёные ёлки", "зеленая елка"),
        ("simple", "Swifts FLYING", "flying"),
        ("simple", "東京都の天気", "東京"),
        ("simple", "日本語", "本語"),
        ("simple", "한국어 문서 검색", "국어"),
        ("en", "a wi-fi router", "wifi"),
        ("en", "the wifi router", "wi-fi"),
        ("en", "state\u2010of\u2010the\u2010art", "stateoftheart"),
        ("en", "hy\u00adphen\u00adated words", "hyphenated"),
        ("en", "about 1,234,567 people", "1234567"),
        ("en", "ﬁne ２０２６", "fine 2026"),
        ("en", "vitamin B₁₂", "b12"),
        ("en", "snake_case", "case"),
        ("en", "naïve cafe\u0301", "café"),
    ],
)
def test_words_of_many_scripts_are_found(engine, language, text, query):
    store = make_store({"a": text, "b": "something else 0"}, keyword_engine=engine, language=language)
    assert ranking(store, query) == ["a"]


@pytest.mark.parametrize("language", ["simple", "de", "ja"])
def test_what_a_language_does_not_do(language):
    if language == "ja":
        with pytest.raises(InvalidValueError, match=r"unknown language 'ja'.*'simple'"):
            HybridDocumentStore(language=language)
    else:
        with pytest.raises(InvalidValueError, match=f"no stop words for language {language!r}"):
            HybridDocumentStore(language=language, stop_words=True)


def test_simple_does_not_stem():
    store = make_store({"a": "flying", "b": "flies"}, language="simple")
    assert ranking(store, "flying") == ["a"]


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(
    texts=st.lists(st.text(max_size=40), min_size=1, max_size=6),
    language=st.sampled_from(["en", "ru", "de", "ta", "simple"]),
)
def test_both_engines_take_any_text_apart_alike(texts, language):
    named = {f"{i}": text for i, text in enumerate(texts)}
    stores = [make_store(named, keyword_engine=engine, language=language) for engine in ENGINES]
    for text in texts:
        if text.strip():
            found = [{d.id: d.score for d in store.bm25_retrieval(text)} for store in stores]
            assert found[0] == pytest.approx(found[1], rel=1e-4)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("fish -water", ["penguin"]),
        ('robin -"a robin"', ["robin"]),
        ("+fish fly", ["penguin", "heron"]),
        ('"in the nest"', ["cuckoo"]),
        ('"nest in the"', []),
        ('"owl hunts" OR', ["owl"]),
        ("+owls +fish", []),
        ("-fish", []),
        ('fish "', ["heron", "penguin"]),
        ('"" fish', ["heron", "penguin"]),
        ("+ - +- fish", ["heron", "penguin"]),
        ("shallow-water", ["heron"]),
        ("-", []),
    ],
)
def test_operators_on_demand(engine, query, expected):
    store = make_store(BIRDS, keyword_engine=engine)
    assert sorted(ranking(store, query, operators=True)) == sorted(expected)


@pytest.mark.parametrize("engine", ENGINES)
def test_operators_leave_the_scores_alone_and_go_with_filters(engine):
    store = HybridDocumentStore(keyword_engine=engine)
    store.write_documents([Document(id=key, content=text, meta={"n": i}) for i, (key, text) in enumerate(BIRDS.items())])
    plain = {d.id: d.score for d in store.bm25_retrieval("robin nest egg")}
    found = {d.id: d.score for d in store.bm25_retrieval("+robin nest egg", operators=True)}
    assert found == pytest.approx({key: plain[key] for key in ("robin", "cuckoo")})
    last = {"field": "meta.n", "operator": ">", "value": 4}
    assert ranking(store, "+robin nest", operators=True, filters=last) == ["cuckoo"]


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet='ab "+-\n', min_size=1))
def test_no_text_is_a_syntax_error_with_operators_either(birds, query):
    if query.strip():
        assert ranking(birds["tantivy"], query, operators=True) == ranking(birds["rank_bm25"], query, operators=True)
