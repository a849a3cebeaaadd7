"""The same filters and queries give the same documents in every database; where they do not, `docs/stores.md` says so."""

import random
from contextlib import closing

import numpy as np
import pytest
from databases import REAL
from haystack import Document
from haystack.errors import FilterError
from haystack.utils.filters import document_matches_filter

from rerank_plugin import HybridDocumentStore
from rerank_plugin.errors import StoreError
from rerank_plugin.indexing.places import open_place
from rerank_plugin.pipelines import load_pipeline

pytestmark = pytest.mark.slow
DIMENSION, FILTERS, QUERIES = 32, 200, 50
VALUES = {
    "lang": ["en", "ru", "de"],
    "year": list(range(1995, 2003)),
    "price": [0.5, 1.25, 2.0, 10.75],
    "public": [True, False],
    "tag": ["plain", "a 'quoted' word", 'a "double" one', "100 %", "кофе", "back\\slash"],
}
ORDERED = ("year", "price")


def documents():
    chance = random.Random(5)
    vectors = np.random.default_rng(5).normal(size=(40, DIMENSION)).astype("float32")
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return [
        Document(
            id=f"{i:064x}",
            content=f"passage number {i}",
            meta={name: chance.choice(values) for name, values in VALUES.items()},
            embedding=vector.tolist(),
        )
        for i, vector in enumerate(vectors)
    ]


def comparison(chance):
    name = chance.choice(list(VALUES))
    operators = ["==", "!=", "in", "not in", *((">", ">=", "<", "<=") if name in ORDERED else ())]
    operator = chance.choice(operators)
    values = VALUES[name]
    value = chance.sample(values, min(2, len(values))) if operator.endswith("in") else chance.choice(values)
    return {"field": f"meta.{name}", "operator": operator, "value": value}


def tree(chance, depth=0):
    if depth == 2 or chance.random() < 0.4:
        return comparison(chance)
    conditions = [tree(chance, depth + 1) for _ in range(chance.randint(1, 3))]
    return {"operator": chance.choice(["AND", "OR", "NOT"]), "conditions": conditions}


def filters():
    chance = random.Random(11)
    return [tree(chance) for _ in range(FILTERS)]


def parts_of(filters):
    yield filters
    for condition in filters.get("conditions", []):
        yield from parts_of(condition)


def has_not(filters):
    return any(part["operator"] == "NOT" for part in parts_of(filters))


def has_not_of_several(filters):
    return any(part["operator"] == "NOT" and len(part["conditions"]) > 1 for part in parts_of(filters))


def compares_fractions(filters):
    operators = ("==", "!=", "in", "not in")
    return any(part.get("field") == "meta.price" and part["operator"] in operators for part in parts_of(filters))


# What `docs/stores.md` says of a database: filters that it refuses, and filters that it reads otherwise than Haystack.
REFUSED = {"qdrant": compares_fractions, "pgvector": has_not}
READ_OTHERWISE = {"qdrant": has_not_of_several}


def is_portable(name, filters):
    return not any(table[name](filters) for table in (REFUSED, READ_OTHERWISE) if name in table)


def matching(given, filters):
    return {document.id for document in given if document_matches_filter(filters, document)}


@pytest.fixture(scope="module")
def given():
    return documents()


def test_the_filters_are_worth_comparing(given):
    sizes = [len(matching(given, each)) for each in filters()]
    assert len(sizes) == FILTERS
    assert sum(0 < size < len(given) for size in sizes) > FILTERS * 0.7


def test_the_same_filters_give_the_same_documents(database, given):
    differences, refused, otherwise = [], 0, 0
    with closing(open_place(database.pipeline(database.indexing))) as place:
        place.write(given)
        assert place.count() == len(given)
        for each in filters():
            if database.name in REFUSED and REFUSED[database.name](each):
                with pytest.raises((FilterError, StoreError)):
                    place.store.read(each)
                refused += 1
                continue
            got = {document.id for document in place.store.read(each)}
            if got == matching(given, each):
                continue
            if is_portable(database.name, each):
                differences.append(each)
            otherwise += 1
    assert differences == []
    assert bool(refused) == (database.name in REFUSED)
    assert bool(otherwise) == (database.name in READ_OTHERWISE)


def test_the_same_queries_give_the_same_documents(database, given):
    queries = np.random.default_rng(6).normal(size=(QUERIES, DIMENSION))
    vectors = np.array([document.embedding for document in given])
    with closing(open_place(database.pipeline(database.indexing))) as place:
        place.write(given)
    pipeline = load_pipeline(database.pipeline(database.searching))
    retriever = pipeline.get_component("embedding_retriever")
    portable = [each for each in filters() if is_portable(database.name, each)]
    for query, each in zip(queries, portable, strict=False):
        found = retriever.run(query_embedding=query.tolist(), filters=each, top_k=len(given))["documents"]
        allowed = matching(given, each)
        exact = [given[i].id for i in np.argsort(-(vectors @ query))]
        assert [document.id for document in found] == [key for key in exact if key in allowed], each
    pipeline.close()


def test_our_own_store_agrees(given, tmp_path):
    with HybridDocumentStore(tmp_path / "index") as store:
        store.write_documents(given)
        for each in filters():
            assert {document.id for document in store.filter_documents(each)} == matching(given, each)


def test_every_database_is_tried():
    assert set(REAL) == {"qdrant", "milvus", "pgvector"}
