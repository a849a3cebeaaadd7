"""Damaged or hostile pipeline files: rejected quickly, with one line that names the place."""

import copy
import random

import pytest
import yaml
from conftest import SENTENCES
from haystack import Document

from rerank_plugin import HybridDocumentStore, load_pipeline
from rerank_plugin.errors import PipelineConfigError, RerankError
from rerank_plugin.pipelines import pipeline_names, read_pipeline
from rerank_plugin.pipelines.yaml_file import MAX_BYTES, MAX_DEPTH, MAX_NODES
from rerank_plugin.search import Searcher

LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)
)
SHARED = """
components:
  ranker:
    type: rerank_plugin.components.ranker.CrossEncoderRanker
    init_parameters: &p {top_k: 3}
  again:
    type: rerank_plugin.components.ranker.CrossEncoderRanker
    init_parameters: *p
"""
STORE = "type: rerank_plugin.store.document_store.HybridDocumentStore"
RETRIEVER = "type: rerank_plugin.components.bm25_retriever.BM25Retriever"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Databases in a file, such as Milvus Lite, make it where the program runs."""
    monkeypatch.chdir(tmp_path)


def load(tmp_path, text, **arguments):
    path = tmp_path / "mine.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_pipeline(path, **arguments)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (LAUGHS, rf"line 5: more than {MAX_NODES:,} values, aliases expanded"),
        ("components: &a\n  x: *a\n", r"line 2: \*a contains itself"),
        ("components: &a [[*a]]\n", r"line 1: \*a contains itself"),
        ("components: " + "[" * 60, f"line 1: nested more than {MAX_DEPTH} levels"),
        ("components: " + "[" * 5000, "line 1.*(nested more than|maximum nesting depth)"),
        ("components: " + "[" * 5000 + "]" * 5000, "line 1.*(nested more than|maximum nesting depth)"),
        ("".join(" " * i + "a:\n" for i in range(500)), rf"line {MAX_DEPTH + 1}: nested more than {MAX_DEPTH} levels"),
        ("#" * (MAX_BYTES + 1), "has more than 1,000,000 bytes"),
        ("a: *nowhere\n", "line 1, column 4: not valid YAML: found undefined alias"),
        ("a: !!python/object/apply:os.system [ls]\n", "line 1, column 4: not valid YAML: could not determine a constructor"),
        ("a: 2000-99-99\n", "not valid YAML: month must be in 1..12"),
        (f"a: {'9' * 5000}\n", "not valid YAML: Exceeds the limit"),
        ("? [a]\n: b\n", "not valid YAML: found unhashable key"),
        (b"a: \xff\n", "byte 3 is not UTF-8"),
        (b"a: \x00\n", "not valid YAML"),
    ],
)
def test_t9_what_is_too_much_or_no_yaml_is_refused_at_once(tmp_path, text, reason):
    with pytest.raises(PipelineConfigError, match=rf"mine\.yaml.*{reason}") as error:
        load(tmp_path, text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "has no 'components'"),
        ("components:\n", r"'components' must map names to components .*got None"),
        ("components: [a, b]\n", r"'components' must map .*got \['a', 'b'\]"),
        ("components: {}\n", r"'components' must map .*got \{\}"),
        ("components:\n  1: {type: x}\n", "the name of a component must be a string, got 1"),
        ("components:\n  x:\n", "component 'x' must have a 'type', got None"),
        ("components:\n  x: [1]\n", r"component 'x' must have a 'type', got \[1\]"),
        ("components:\n  x: {init_parameters: {}}\n", "component 'x' needs a 'type'.*got None"),
        ("components:\n  x: {type: 5}\n", "component 'x' needs a 'type'.*got 5"),
        ("components:\n  x: {type: a.B, init_parameters: [1]}\n", r"'init_parameters' of component 'x' .*got \[1\]"),
        ("components:\n  x: {type: a.B}\nconnections: {a: b}\n", r"'connections' must be a list .*got \{'a': 'b'\}"),
        ("components:\n  x: {type: a.B}\nconnections: [a]\n", "connection 1 needs a sender .*got 'a'"),
        ("components:\n  x: {type: a.B}\nconnections: [{sender: a.b}]\n", "connection 1 needs a receiver"),
        (f"components:\n  x: {{{RETRIEVER}, init_parameters: {{document_store: 5}}}}\n", "mine.yaml cannot be loaded"),
        (f"components:\n  x: {{{RETRIEVER}, init_parameters: {{1: 2}}}}\n", "mine.yaml cannot be loaded"),
        (f"components:\n  x: {{{RETRIEVER}, init_parameters: {{document_store: {{{STORE}, init_parameters: [1]}}}}}}\n", ""),
    ],
)
def test_t9_wrong_types_say_where_they_stand(tmp_path, text, reason):
    if not reason:  # an override replaces the faulty parameters
        assert load(tmp_path, text, index=tmp_path / "index").get_component("x").document_store.path
        return
    with pytest.raises(PipelineConfigError, match=reason) as error:
        load(tmp_path, text)
    assert "\n" not in str(error.value)


def test_t9_empty_parameters_are_no_parameters(tmp_path, bi_encoder):
    text = f"components:\n  x:\n    {RETRIEVER}\n    init_parameters:\n      document_store:\n        {STORE}\n        init_parameters:\n"
    pipeline = load(tmp_path, text, index=tmp_path / "index", language="ru")
    assert str(pipeline.get_component("x").document_store.path) == str(tmp_path / "index")
    ranker = load(tmp_path, SHARED.replace("&p {top_k: 3}", "").replace("*p", "")).get_component("ranker")
    assert ranker.top_k == 10


def test_components_that_share_an_anchor_share_no_dictionary(tmp_path):
    (tmp_path / "mine.yaml").write_text(SHARED)
    components = read_pipeline(tmp_path / "mine.yaml")["components"]
    assert components["ranker"]["init_parameters"] == components["again"]["init_parameters"] == {"top_k": 3}
    assert components["ranker"]["init_parameters"] is not components["again"]["init_parameters"]


@pytest.mark.parametrize(
    "source", ["", " ", "\0.yaml", "x" * 5000 + ".yaml", "~nobody-here/x.yaml", "../bm25", "\ud800.yaml", 5, None, b"bm25"]
)
def test_a_name_that_cannot_be_one_is_a_project_error(source):
    with pytest.raises(RerankError) as error:
        load_pipeline(source)
    assert len(str(error.value)) < 500


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / "x.yaml").mkdir()
    with pytest.raises(PipelineConfigError, match="does not exist or is not a file"):
        load_pipeline(tmp_path / "x.yaml")


VALUES = [
    None,
    "",
    "x",
    0,
    -1,
    10**30,
    1.5,
    float("nan"),
    True,
    [],
    {},
    [1],
    {"a": 1},
    "\x1b[2J",
    ["x"] * 9,
    {"type": "os.path.join"},
]


def places(node, path=()):
    """Yield every position in nested containers."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


def mutated(data, rng):
    data = copy.deepcopy(data)
    for _ in range(rng.randint(1, 3)):
        *path, last = rng.choice(list(places(data)))
        parent = data
        for key in path:
            parent = parent[key]
        action = rng.random()
        if action < 0.3:
            del parent[last]
        elif action < 0.8 or not isinstance(parent, dict):
            parent[last] = copy.deepcopy(rng.choice(VALUES))
        else:
            parent[rng.choice([5, None, "x", last + "x" if isinstance(last, str) else "y"])] = parent.pop(last)
        if not list(places(data)):
            break
    return data


def damaged_text(text, rng):
    start = rng.randrange(len(text))
    other = rng.choice(
        ["", "\t", "&a ", "*a", "- ", ": ", "{", "[", '"', "%", "\x00", "\x1b[2J", "!!set ", "<<: *a\n", "🦊"]
    )
    return text[:start] + other + text[start + rng.randrange(20) :]


def fuzz_pipelines(count, folder, *, seed=1):
    """Load mutated pipeline files and search with those that load. Returns the number that loaded."""
    rng, loaded, path = random.Random(seed), 0, folder / "mutated.yaml"
    sources = {name: read_pipeline(name) for name in pipeline_names() if name not in ("rag_rerank", "indexing", "dense")}
    store = HybridDocumentStore(folder / "index")
    store.write_documents([Document(content=text) for text in SENTENCES])
    for _ in range(count):
        data = sources[rng.choice(list(sources))]
        text = yaml.safe_dump(mutated(data, rng), allow_unicode=True) if rng.random() < 0.7 else None
        text = damaged_text(yaml.safe_dump(data), rng) if text is None else text
        path.write_text(text, encoding="utf-8")
        try:
            pipeline = load_pipeline(path, index=folder / "index")
            Searcher(pipeline)
            loaded += 1
        except RerankError as error:
            message = str(error)
            assert "\n" not in message, text
    store.close()
    return loaded


def test_mutated_files_load_or_are_a_project_error(tmp_path):
    assert 0 < fuzz_pipelines(60, tmp_path) < 60
