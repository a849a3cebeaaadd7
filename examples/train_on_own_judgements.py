"""
Fine-tune the bundled model on your own judgements.

Here the judgements say that somebody who pastes an error wants the passage that mends it, not the one that repeats it. A few
of them teach the point; for a model that you rely on, judge some hundred queries, and keep a dev split (`--dev`).
The same from the command line, with lists instead of pairs:
`rerank train examples/data/tickets.jsonl --preset best --epochs 12 --output ticket_model`.
"""

from pathlib import Path

from haystack import Document

from rerank_plugin import CrossEncoderRanker
from rerank_plugin.training.recipe.config import TrainingConfig
from rerank_plugin.training.recipe.request import TrainingRequest
from rerank_plugin.training.run import run_training

TICKETS = Path(__file__).parent / "data" / "tickets.jsonl"

QUERY = "calendar shows the wrong time zone"  # not among the judgements
PASSAGES = [
    "The calendar shows the wrong time zone for some users after they have travelled.",
    "Open the settings, choose Region, and select your city; meetings move to the local hour.",
]


def best(model: str | Path) -> str:
    with CrossEncoderRanker(model=model, top_k=1) as ranker:
        documents = [Document(content=passage) for passage in PASSAGES]
        return str(ranker.run(query=QUERY, documents=documents)["documents"][0].content)


def main() -> None:
    model = Path("ticket_model")
    config = TrainingConfig(
        model="me5-l12-enru", epochs=10, batch_size=8, learning_rate=1e-4, freeze_embeddings=True, dropout=0.0
    )
    run_training(TrainingRequest(data=(TICKETS,), output=model, config=config))
    print("before:", best("me5-l12-enru"))
    print("after:", best(model))


if __name__ == "__main__":
    main()
