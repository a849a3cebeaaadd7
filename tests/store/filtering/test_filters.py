"""Filters give the same results as Haystack's `document_matches_filter`."""

import sqlite3
from datetime import UTC, datetime
from functools import reduce

import pytest
from haystack import Document
from haystack.errors import FilterError
from haystack.utils.filters import document_matches_filter
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rerank_plugin.store import HybridDocumentStore
from rerank_plugin.store.sqlite import meta_indexes

DATES = [
    "2024-05-06",
    "2024-05-06T00:00:00",
    "2024-05-06 10:30:00",
    "2024-05-06T00:00:00+03:00",
    "2023-12-31",
    "May 6, 2024",
]
NUMBERS = [0, 1, -1, 2, 1.0, 0.1, 0.30000000000000004, 1e22, 1e-320, 2**53 + 1, 2**63, -(2**70), True, False]
TEXTS = ["", "a", "A", "1", "true", "[1]", "null", "é", "e\u0301", "a\0b", "50%", "it's", '"', "\\", "яблоко"]
# Few values, so that filters match documents often; hypothesis adds others.
SCALARS = st.none() | st.sampled_from([*DATES, *NUMBERS, *TEXTS]) | st.text(max_size=3) | st.integers() | st.floats(-9, 9)
LISTS = st.lists(SCALARS, max_size=2)
FIELDS = st.sampled_from(["a", "b", 'quo"te', "sp ace", "ключ"])
METAS = st.dictionaries(FIELDS, SCALARS | LISTS | st.dictionaries(FIELDS, SCALARS, max_size=2), max_size=3)
DOCUMENTS = st.lists(st.tuples(st.none() | st.sampled_from(TEXTS), METAS), min_size=1, max_size=6).map(
    lambda rows: [Document(id=str(i), content=content, meta=meta) for i, (content, meta) in enumerate(rows)]
)

NAMES = st.one_of(
    FIELDS.map("meta.{}".format),
    FIELDS,
    st.tuples(FIELDS, FIELDS).map(lambda keys: f"meta.{keys[0]}.{keys[1]}"),
    st.sampled_from(["id", "content", "meta", "score", "embedding", "meta.", "content.a", "nowhere.a"]),
)
EQUALITIES = st.builds(
    lambda field, operator, value: {"field": field, "operator": operator, "value": value},
    NAMES,
    st.sampled_from(["==", "!="]),
    SCALARS | LISTS | st.dictionaries(FIELDS, SCALARS, max_size=1) | st.just(datetime(2024, 5, 6, tzinfo=UTC)),
)
ORDERS = st.builds(
    lambda field, operator, value: {"field": field, "operator": operator, "value": value},
    NAMES,
    st.sampled_from([">", ">=", "<", "<="]),
    st.none() | st.sampled_from([*DATES, *NUMBERS, datetime(2024, 5, 6, 10), float("inf")]) | st.floats(-9, 9),
)
MEMBERSHIPS = st.builds(
    lambda field, operator, value: {"field": field, "operator": operator, "value": value},
    NAMES,
    st.sampled_from(["in", "not in"]),
    st.lists(SCALARS, max_size=4),
)
FILTERS = st.recursive(
    EQUALITIES | ORDERS | MEMBERSHIPS,
    lambda inner: st.builds(
        lambda operator, conditions: {"operator": operator, "conditions": conditions},
        st.sampled_from(["AND", "OR", "NOT"]),
        st.lists(inner, max_size=3),
    ),
    max_leaves=5,
)


def nested(levels, operators, leaf, *others):
    for level in range(levels):
        leaf = {"operator": operators[level % len(operators)], "conditions": [leaf, *others]}
    return leaf


@pytest.mark.parametrize("operators", [["NOT"], ["AND"], ["OR"], ["AND", "OR"], ["NOT", "AND", "OR"]])
@pytest.mark.parametrize("others", [[], [{"field": "b", "operator": ">", "value": "2024-01-01"}]])
def test_t6_valid_filters_of_every_depth_work(operators, others):
    """SQLite's parser overflowed at 77 levels, and Python's recursion at a greater depth."""
    documents = [Document(id=str(i), meta={"a": i, "b": "2024-05-06"}) for i in range(2)]
    store = HybridDocumentStore()
    store.write_documents(documents)
    for levels in (1, 9, 10, 11, 76, 77, 99, 100):
        filters = nested(levels, operators, {"field": "a", "operator": "<", "value": 1}, *others)
        expected = [document.id for document in documents if document_matches_filter(filters, document)]
        assert [document.id for document in store.filter_documents(filters)] == expected


class Counting(float):
    """A number that counts comparisons with it."""

    comparisons = 0

    def __eq__(self, other):
        Counting.comparisons += 1
        return super().__eq__(other)

    __hash__ = float.__hash__


@pytest.mark.parametrize("operator", ["in", "OR"])
def test_t5_documents_are_not_compared_with_every_value_of_a_long_list(operator):
    """3,000 values and 2,000 documents took 13 seconds for six million comparisons, with the lock held."""
    store = HybridDocumentStore()
    store.write_documents([Document(id=f"{i:03}", meta={"a": i + 0.5 if i % 2 else [i]}) for i in range(300)])
    values = [[2], 7.5, None, "2024-05-06", *(Counting(i + 0.25) for i in range(1000))]
    filters = {"field": "meta.a", "operator": "in", "value": values}
    if operator == "OR":
        conditions = [{"field": "meta.a", "operator": "==", "value": value} for value in values]
        filters = {"operator": "OR", "conditions": conditions}
    Counting.comparisons = 0
    assert [document.id for document in store.filter_documents(filters)] == ["002", "007"]
    assert Counting.comparisons < 50 * len(values), "300,000 if each were compared with each"


@pytest.mark.slow
def test_t6_what_is_out_of_all_proportion_is_an_error_at_once():
    store = HybridDocumentStore()
    store.write_documents([Document(content="fox", embedding=[1.0])])
    leaf = {"field": "a", "operator": "==", "value": 1}
    cyclic = {"operator": "AND", "conditions": []}
    cyclic["conditions"] += [cyclic, cyclic]
    shared = leaf
    for _ in range(60):
        shared = {"operator": "OR", "conditions": [shared, shared]}
    deep, twice = [1], []
    for _ in range(3000):
        deep = [deep]
    twice += [twice, twice]
    for filters, message in [
        (nested(5000, ["NOT"], leaf), "nested 100 levels deep.*in one list"),
        (cyclic, "nested 100 levels deep"),
        (shared, "10,000 conditions, these have more: pass the values of one field as a list"),
        ({"field": "a" * 5_000_000, "operator": "==", "value": 1}, "1,000 characters, .* has 5,000,000: name a field"),
        ({"field": "a", "operator": "==", "value": deep}, "value of a filter may be nested 100 levels deep"),
        ({"field": "a", "operator": "in", "value": [twice]}, "value of a filter may be nested"),
        ({"field": "a", "operator": "==="} | {"value": deep}, "unknown operator '==='"),
    ]:
        for search in (store.filter_documents, store.delete_by_filter, store.count_documents_by_filter):
            with pytest.raises(FilterError, match=message):
                search(filters)
        with pytest.raises(FilterError, match=message):
            store.bm25_retrieval("fox", filters=filters)
        with pytest.raises(FilterError, match=message):
            store.embedding_retrieval([1.0], filters=filters)


def ask_haystack(filters, document):
    """Return True, False, or None if Haystack cannot compare."""
    try:
        return document_matches_filter(filters, document)
    except (FilterError, TypeError):
        return None


def check_matches(store, filters, expected):
    try:
        found = {document.id for document in store.filter_documents(filters)}
    except FilterError:
        assert None in expected.values()
    else:
        # If Haystack cannot compare, another condition of the same filter may decide here.
        assert {key for key, matches in expected.items() if matches} <= found
        assert not {key for key, matches in expected.items() if matches is False} & found


@pytest.mark.slow
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(DOCUMENTS, FILTERS)
@example([Document(id="0", meta={"a": 0.1 + 0.2})], {"field": "a", "operator": "==", "value": 0.30000000000000004})
@example([Document(id="0", meta={"a": "2024-05-06T24:00"})], {"field": "a", "operator": ">", "value": "2024-05-06"})
@example([Document(id="0", meta={"a": [1, 2]})], {"field": "a", "operator": "==", "value": "[1,2]"})
@example([Document(id="0", meta={"a": "x\0y"})], {"field": "a", "operator": "==", "value": "x"})
@example([Document(id="0", meta={"a": 2**63 + 1})], {"field": "a", "operator": "==", "value": 2**63})
@example([Document(id="0", meta={})], {"operator": "NOT", "conditions": [{"field": "a", "operator": ">", "value": 1}]})
def test_agrees_with_haystack(documents, filters):
    expected = {document.id: ask_haystack(filters, document) for document in documents}
    store = HybridDocumentStore()
    store.write_documents(documents)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(meta_indexes, "_MIN_DOCUMENTS", 0)
        patch.setattr(meta_indexes, "_SCANS", 1)
        check_matches(store, filters, expected)
        check_matches(store, filters, expected)  # again, with an index on the field if one is useful


ZONED = [
    "2024-05-06T00:00:00Z",
    "2024-05-05T21:00:00+00:00",
    "2024-05-06T24:00",
    "2024-05-07",
    "2024-99-99",
    "2024-05-07T13:59:00+23:59",
    "0001-01-01T00:00:00+05:00",
    "9999-12-31T23:59:59-05:00",
]
LONG_VALUES = (
    SCALARS
    | LISTS
    | st.sampled_from(ZONED)
    | st.dictionaries(FIELDS, SCALARS, max_size=1)
    | st.datetimes(datetime(2024, 5, 5), datetime(2024, 5, 7), timezones=st.none() | st.just(UTC))
    | st.sampled_from([float("inf"), 10**400, 2.0**63, (1, 2), b"a", datetime.max.replace(tzinfo=UTC)])
)
LONG = st.builds(
    lambda field, operator, values: {"field": field, "operator": operator, "value": values},
    NAMES,
    st.sampled_from(["in", "not in"]),
    st.lists(LONG_VALUES, min_size=17, max_size=40),
)
DEEP = st.builds(
    lambda leaf, operators, others: reduce(
        lambda inner, step: {"operator": step[0], "conditions": [inner, *step[1]]},
        zip(operators, others, strict=False),
        leaf,
    ),
    EQUALITIES | ORDERS | MEMBERSHIPS | LONG,
    st.lists(st.sampled_from(["AND", "OR", "NOT"]), min_size=12, max_size=99),
    st.lists(st.lists(EQUALITIES | MEMBERSHIPS, max_size=2), min_size=99, max_size=99),
)
WIDE = st.builds(
    lambda operator, conditions: {"operator": operator, "conditions": conditions},
    st.sampled_from(["AND", "OR", "NOT"]),
    st.lists(EQUALITIES | ORDERS | MEMBERSHIPS | LONG, min_size=5, max_size=12),
)
LONG_DOCUMENTS = st.lists(
    st.dictionaries(FIELDS, SCALARS | LISTS | st.sampled_from(ZONED), min_size=1, max_size=3), min_size=1, max_size=6
).map(lambda metas: [Document(id=str(i), meta=meta) for i, meta in enumerate(metas)])


@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(DOCUMENTS | LONG_DOCUMENTS, LONG | WIDE)
def test_t5_long_lists_agree_with_haystack(documents, filters):
    store = HybridDocumentStore()
    store.write_documents(documents)
    check_matches(store, filters, {document.id: ask_haystack(filters, document) for document in documents})


@pytest.mark.slow
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(DOCUMENTS | LONG_DOCUMENTS, DEEP)
def test_t6_deep_filters_agree_with_haystack(documents, filters):
    store = HybridDocumentStore()
    store.write_documents(documents)
    check_matches(store, filters, {document.id: ask_haystack(filters, document) for document in documents})


@pytest.mark.parametrize(
    "filters",
    [
        {"field": "meta.a", "operator": "==", "value": 1, "conditions": "ignored"},
        {"operator": "AND", "conditions": []},
        {"field": "meta.a", "operator": "in", "value": list(range(5_000)) + [str(i) for i in range(5_000)]},
        {"operator": "OR", "conditions": [{"field": "a", "operator": "==", "value": i} for i in range(3_000)]},
        {"field": "meta.a", "operator": "in", "value": [float(i) for i in range(500)]},
        {"field": "meta.'] = 1 OR 1=1 --", "operator": "==", "value": None},
    ],
)
def test_unusual_filters_that_are_fine(filters):
    documents = [Document(id=str(i), meta={"a": i}) for i in range(3)]
    store = HybridDocumentStore()
    store.write_documents(documents)
    expected = [document.id for document in documents if document_matches_filter(filters, document)]
    assert [document.id for document in store.filter_documents(filters)] == expected
    assert expected


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        (["meta.a"], "must be a dictionary"),
        ({"meta.a": 1}, "'operator' is missing"),
        ({"field": "meta.a", "operator": "==="}, "'value' is missing"),
        ({"field": "meta.a", "operator": "LIKE", "value": 1}, "unknown operator 'LIKE'.*'not in'"),
        ({"field": "meta.a", "operator": ["=="], "value": 1}, "unknown operator"),
        ({"field": 3, "operator": "==", "value": 1}, "'field' must be a string"),
        ({"field": "meta.a", "operator": "in", "value": "abc"}, "needs a list"),
        ({"field": "meta.a", "operator": "<", "value": [1]}, "needs a number or a date"),
        ({"operator": "XOR", "conditions": []}, "unknown operator 'XOR'"),
        ({"operator": "AND", "conditions": {"field": "a"}}, "must be a list"),
        ({"operator": "AND", "conditions": ["a"]}, "must be a dictionary"),
        ({"operator": "AND", "conditions": [{"field": "a", "operator": "=="}]}, "'value' is missing"),
    ],
)
def test_malformed_filters_are_errors_even_in_an_empty_store(filters, message):
    store = HybridDocumentStore()
    with pytest.raises(FilterError, match=message):
        store.filter_documents(filters)
    with pytest.raises(FilterError, match=message):
        store.bm25_retrieval("query", filters=filters)
    with pytest.raises(FilterError, match=message):
        store.embedding_retrieval([1.0], filters=filters)
    with pytest.raises(FilterError, match=message):
        store.delete_by_filter(filters)


def test_filters_nested_too_deeply_are_an_error():
    filters = {"field": "a", "operator": "==", "value": 1}
    for _ in range(101):
        filters = {"operator": "NOT", "conditions": [filters]}
    with pytest.raises(FilterError, match="100 levels"):
        HybridDocumentStore().filter_documents(filters)


def test_values_that_cannot_be_ordered_are_an_error():
    store = HybridDocumentStore()
    store.write_documents([Document(id="d1", meta={"a": {"b": 1}})])
    with pytest.raises(FilterError, match="d1"):
        store.filter_documents({"field": "meta.a", "operator": ">", "value": 1})


@pytest.mark.parametrize("filters", [None, {}])
def test_deleting_or_updating_with_empty_filters_is_an_error(filters):
    store = HybridDocumentStore()
    store.write_documents([Document(content="keep me")])
    with pytest.raises(FilterError, match="delete_all_documents"):
        store.delete_by_filter(filters)
    with pytest.raises(FilterError, match="empty"):
        store.update_by_filter(filters, {"a": 1})
    assert store.count_documents() == 1


def plan(folder):
    """Return the SQLite indexes on meta fields."""
    connection = sqlite3.connect(folder / "documents.sqlite")
    names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE name GLOB 'meta:*' ORDER BY name")]
    connection.close()
    return names


def test_a_field_that_is_filtered_often_gets_an_index(tmp_path, monkeypatch):
    monkeypatch.setattr(meta_indexes, "_MIN_DOCUMENTS", 100)
    store = HybridDocumentStore(tmp_path)
    store.write_documents([Document(id=str(i), meta={"group": i % 50, "kind": {"name": f"it's {i}"}}) for i in range(200)])
    for i in range(5):
        conditions = [
            {"field": "meta.group", "operator": "<", "value": 50 - i},
            {"field": "meta.kind.name", "operator": "in", "value": [f"it's {i}", f"it's {i + 100}", "none"]},
        ]
        assert plan(tmp_path) == ([] if i < 4 else ['meta:$."kind"."name"']), "a value is more telling than a range"
        found = store.filter_documents({"operator": "AND", "conditions": conditions})
        assert [document.id for document in found] == [str(i), str(i + 100)]
    for i in range(5):
        assert store.count_documents_by_filter({"field": "meta.group", "operator": ">=", "value": 45 + i}) == 4 * (5 - i)
        assert store.count_documents_by_filter({"operator": "NOT", "conditions": [conditions[0]]}) == 4 * 4
    assert plan(tmp_path) == ['meta:$."group"', 'meta:$."kind"."name"']
    store.close()
    reopened = HybridDocumentStore(tmp_path)
    reopened.write_documents([Document(id="new", meta={"group": 49.0})])
    assert reopened.count_documents_by_filter({"field": "group", "operator": "==", "value": 49}) == 5
    reopened.close()


def test_who_searches_does_not_wait_for_an_index(tmp_path, monkeypatch):
    """During a write no index can be created; the filter works without it, and the index is created later."""
    monkeypatch.setattr(meta_indexes, "_MIN_DOCUMENTS", 100)
    store = HybridDocumentStore(tmp_path)
    store.write_documents([Document(id=str(i), meta={"group": i}) for i in range(200)])
    writer = sqlite3.connect(tmp_path / "documents.sqlite", isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    for i in range(5):
        assert store.count_documents_by_filter({"field": "group", "operator": "==", "value": i}) == 1
    assert plan(tmp_path) == []
    writer.execute("COMMIT")
    writer.close()
    for i in range(5):
        assert store.count_documents_by_filter({"field": "group", "operator": "==", "value": i}) == 1
    assert plan(tmp_path) == ['meta:$."group"']
    store.close()
