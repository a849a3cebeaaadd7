"""What `rerank search` prints: places, sentences and numbers, at the widths of real terminals."""

import io
import json
from pathlib import Path

import pytest
from haystack import Document
from rich.console import Console

from rerank_plugin import HybridDocumentStore
from rerank_plugin.cli.hits import place_text, show_hits
from rerank_plugin.results import Hit, SearchResult, hits_as_json

LONG_TITLE = "Как очистить чайник, кофемашину и утюг от накипи: подробное руководство для тех, у кого дома жёсткая вода"
SENTENCE = "Растворите двадцать граммов лимонной кислоты в литре воды, доведите до кипения и оставьте на полчаса."


def hit(rank, title, sentence, *, before=1, **meta):
    meta = {**({"title": title} if title else {}), **meta}
    return Hit(Document(id=f"id{rank}", content="text", meta=meta, score=0.91234), rank, before, 11.5, sentence)


def shown(*hits, width, second=True, **counts):
    out = io.StringIO()
    console = Console(file=out, width=width)
    show_hits(SearchResult(list(hits), {"ranker": 1.25}, **counts), has_second_stage=second, console=console)
    lines = out.getvalue().splitlines()
    assert all(Console(width=400).measure(line).maximum <= width for line in lines)
    return lines


HITS = [
    hit(1, LONG_TITLE, SENTENCE, before=7, source="/far/away/чайник.pdf", page=12, section="Уход > Накипь"),
    hit(2, None, "A short sentence.", before=1, source=str(Path("docs/tea.md").absolute())),
    hit(3, "Same", "It is here.", before=3, source="/a.md", also_in=[{"source": "/a.md", "page": 2}, {"source": "/b.md"}]),
    hit(4, "No place", "", before=120, also_in=[{"id": "x"}]),
]


@pytest.mark.parametrize("width", [60, 80, 100, 129, 130, 140, 200])
def test_u7_every_width_shows_everything(width):
    lines = shown(*HITS, width=width)
    text = " ".join(" ".join(line.split()) for line in lines)
    for word in (
        *LONG_TITLE.split(),
        *SENTENCE.split(),
        "чайник.pdf,",
        "page",
        "12,",
        "Накипь",
        "docs/tea.md",
        "0.912",
        "11.500",
    ):
        assert word in text
    for phrase in ("also in page 2; /b.md", "also in x", "▲ 6", "▼ 1", "=", "▲ 116", "milliseconds: ranker 1.2"):
        assert phrase in text
    assert str(Path.cwd()) not in text


@pytest.mark.parametrize("width", [80, 100, 140])
def test_u7_no_two_columns_have_the_same_head(width):
    top, heads = shown(*HITS, width=width)[:2]
    assert top.split() == ["first", "stage"]
    assert [head for head in heads.split() if head in ("rank", "score", "moved")].count("moved") == 1
    start = top.index("first stage")
    assert heads.rindex("rank") >= start - 3
    assert heads[:start].split().count("score") == heads[:start].split().count("rank") == 1
    assert "was" not in heads


@pytest.mark.parametrize("width", [80, 100])
def test_u7_the_sentence_is_no_ribbon_on_narrow_terminals(width):
    lines = shown(*HITS, width=width)
    assert max(len(line.strip()) for line in lines if "Растворите" in line or "кипения" in line) > width - 25


@pytest.mark.parametrize("width", [80, 140])
def test_without_a_second_stage_there_is_one_score(width):
    lines = shown(*HITS, width=width, second=False)
    assert "first stage" not in "\n".join(lines)
    assert "moved" not in lines[0]
    assert "0.912" in "\n".join(lines)


def test_what_was_left_out_is_counted():
    text = " ".join(" ".join(shown(*HITS, width=100, collapsed=3, over_limit=2)).split())
    assert (
        'left out: 3 near duplicates (listed under "also in"), 2 further hits of the same files (--max-per-source)' in text
    )
    assert 'left out: 1 near duplicate (listed under "also in")' in shown(*HITS, width=100, collapsed=1)
    assert "left out" not in "\n".join(shown(*HITS, width=100))
    assert shown(width=80)[0] == "no hits"


def test_more_places_than_fit_are_counted():
    places = [{"source": f"/{n}.md"} for n in range(7)]
    text = "\n".join(shown(hit(1, "Title", "A sentence here.", source="/x.md", also_in=places), width=140))
    assert "also in /0.md; /1.md; /2.md and 4 more places" in " ".join(text.split())


def test_a_cut_sentence_shows_that_it_is_cut():
    text = " ".join(" ".join(shown(hit(1, "Title", "word " * 500), width=100)).split())
    assert "word word…" in text


def test_a_place_is_named_from_here_where_that_is_shorter(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = str(tmp_path / "docs" / "a.md")
    assert place_text({"source": source, "page": 3, "section": "A > B"}) == "docs/a.md, page 3, A > B"
    assert place_text({"source": "/x.md"}) == "/x.md"
    assert place_text({"source": "/x.md", "doc_id": "d1"}) == "/x.md, d1"
    assert place_text({"source": "/x.md", "page": 0}, beside="/x.md") == "page 0"
    assert place_text({"source": "/x.md"}, beside="/x.md") == "/x.md"
    assert place_text({}) == ""


def test_json_has_the_places():
    result = json.loads(json.dumps(hits_as_json("q", SearchResult(HITS, {}, collapsed=2))))
    first, _, third, last = result["hits"]
    assert (first["source"], first["page"], first["section"]) == ("/far/away/чайник.pdf", 12, "Уход > Накипь")
    assert third["also_in"] == [{"source": "/a.md", "page": 2}, {"source": "/b.md"}]
    assert (last["source"], last["page"], last["section"], last["also_in"]) == (None, None, None, [{"id": "x"}])
    assert (result["collapsed"], result["over_limit"]) == (2, 0)


@pytest.fixture
def versions(tmp_path):
    """An index of the same page in five versions of a documentation, and of another page with three passages."""
    text = "The function returns a new sorted list and accepts a key that is called once for every element of the old list."
    store = HybridDocumentStore(tmp_path / "index")
    store.write_documents(
        [
            *[Document(content=text, meta={"source": f"/v{n}/sort.html", "title": "sorted"}) for n in range(5)],
            *[
                Document(content=f"A sorted list, part {n}: {'abc'[n]} comes next.", meta={"source": "/c.html"})
                for n in range(3)
            ],
        ]
    )
    store.close()
    return tmp_path / "index"


def test_u6_options_of_search(rerank, versions):
    def sources(*options):
        done = rerank("search", "sorted list", "--index", versions, "--pipeline", "bm25", "--json", *options)
        assert done.returncode == 0, done.stderr
        return [hit["source"] for hit in json.loads(done.stdout)["hits"]]

    assert len(sources()) == len(sources("--no-collapse")) == 8
    assert len(sources("--collapse")) == 4
    assert sources("--max-per-source", 1).count("/c.html") == 1
    assert len(sources("--collapse", "--max-per-source", 1)) == 2
    done = rerank("search", "sorted list", "--index", versions, "--pipeline", "bm25", "--collapse")
    assert "also in /v" in done.stdout
    assert "left out: 4 near duplicates" in done.stdout
    done = rerank("search", "sorted list", "--index", versions, "--pipeline", "bm25", "--max-per-source", 0)
    assert done.stderr == "error: max_per_source must be a whole number of at least 1, got 0\n"
