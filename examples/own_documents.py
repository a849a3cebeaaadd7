"""Search a folder of your own documents, and show where the answer stands."""

from pathlib import Path

from rerank_plugin import load_pipeline
from rerank_plugin.indexing import index_paths

NOTES = {
    "kettle.md": "# Kettle\n\nWhen the element is white, fill it with vinegar and water, wait an hour, and rinse twice.\n",
    "oven.md": "# Oven\n\nThe seal of the door can be pulled off and washed by hand. The fan must not get wet.\n",
    "bins.txt": "Paper is collected every second Monday, glass on the first Friday of the month.\n",
}


def main() -> None:
    folder, index = Path("house_notes"), Path("house_index")
    folder.mkdir(exist_ok=True)
    for name, text in NOTES.items():
        (folder / name).write_text(text, encoding="utf-8")

    # Run it again after a change: only changed files are read, and files that are gone are dropped.
    index_paths([folder], index, pipeline="indexing_keyword", prune=True)

    pipeline = load_pipeline("bm25_rerank", index=index)
    query = "which day do they pick up the paper"
    result = pipeline.run({"bm25_retriever": {"query": query}, "ranker": {"query": query}})
    best = result["collapser"]["documents"][0]
    print(f"{Path(best.meta['source']).name}: {best.content.strip()}")


if __name__ == "__main__":
    main()
