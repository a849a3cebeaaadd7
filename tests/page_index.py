"""A small index for the tests of the page, with texts that a page must not take for anything but text."""

from pathlib import Path

from haystack import Document

from rerank_plugin.indexing import index_paths
from rerank_plugin.scoring.loading.spec import DEFAULT_MODEL
from rerank_plugin.store import HybridDocumentStore

SENTENCES = [
    "The river runs from the mountain to the sea.",
    "Paris is the capital of France, and the river is near.",
    "Berlin is the capital of Germany and a big city.",
    "The red fox jumps over the old dog near the river.",
    "The sky is blue and the sea is blue.",
    "Coffee and tea are drinks.",
    "The moon is near the earth, the sun is far.",
    "A library is where the books are.",
]
SCRIPT = "<script>window.attacked = 1</script>"
IMAGE = "<img src=x onerror='window.attacked = 1'>"
SVG = "<svg onload='window.attacked = 1'><animate onbegin='window.attacked = 1'/></svg>"
CONTROL = "left\u202eright\u0007\u0000bell ]]> &amp; \u2028 end"
LONG_WORD = "river" + "x" * 5_000_000
ATTACKS = [
    Document(
        id='"><script>window.attacked = 1</script>',
        content=f"The river {SCRIPT} {IMAGE} {SVG}",
        meta={"title": f"{IMAGE} river", "source": f"/files/{SCRIPT}.txt", "section": SVG, "lang": SCRIPT},
    ),
    Document(
        id="javascript:window.attacked=1",
        content=f"river {CONTROL}",
        meta={"title": f"{CONTROL} river", SCRIPT: IMAGE, "lang": "en"},
    ),
    Document(id="plain", content="A river without tricks.", meta={"title": "Plain", "lang": "en"}),
    Document(id="long", content=f"river {LONG_WORD}", meta={"title": LONG_WORD[:3000], "lang": "en"}),
]


def make_index(folder: Path) -> Path:
    """Index 64 short files and the attacks."""
    files = folder / "files"
    files.mkdir(parents=True)
    for number in range(64):
        first, second = SENTENCES[number % 8], SENTENCES[(number // 8 + number) % 8]
        (files / f"text {number:02}.md").write_text(f"# Text {number}\n\n{first} {second} Number {number}.\n")
    index_paths([files], folder / "index", pipeline="indexing_keyword")
    with HybridDocumentStore(folder / "index") as store:
        store.write_documents(ATTACKS)
    return folder / "index"


def small_pipeline(folder: Path, repository: Path, model: Path) -> Path:
    """Write the pipeline `bm25_rerank` with a small model, as `small.yaml`."""
    text = (repository / "pipelines" / "bm25_rerank.yaml").read_text().replace(DEFAULT_MODEL, str(model))
    file = folder / "small.yaml"
    file.write_text(text)
    return file
