"""Real query-passage pairs on which the ranges of activations are measured for int8."""

import random
from itertools import cycle
from pathlib import Path

from rerank_plugin.collections.beir import BeirDataset
from rerank_plugin.scoring.tokens import Features, Pair, PairTokenizer

PAIRS = 128
PAIRS_A_BATCH = 4


def quantization_batches(tokenizer: PairTokenizer) -> list[Features]:
    """
    Make the inputs that static quantisation measures on.

    Half of the pairs are of a query and a passage that answers it, half of a query and any passage: both ends of the scores
    occur. Texts are those of the sample corpus, English and Russian, of all its lengths.

    :param tokenizer: The model's tokenizer.
    :returns: Batches, always the same.
    """
    draw = random.Random(13)  # noqa: S311 - choosing texts, no secret
    collection = BeirDataset(sample_corpus())
    queries = {id_: query.text for id_, query in collection.queries().items()}
    passages = {document.id: f"{document.title}\n{document.text}" for document in collection.documents()}
    answers = {
        id_: [passage for passage, grade in grades.items() if grade > 0] for id_, grades in collection.qrels("test").items()
    }
    pairs: list[Pair] = []
    for (query_id, query), wants_answer in zip(cycle(queries.items()), cycle([True, False]), strict=False):
        if len(pairs) == PAIRS:
            break
        passage = draw.choice(answers.get(query_id) or list(passages)) if wants_answer else draw.choice(list(passages))
        tokens = tokenizer.encode([query, passages[passage]])
        pairs.append(tokenizer.truncated(Pair(*tokens)))
    pairs.sort(key=tokenizer.length)
    batches = [pairs[i : i + PAIRS_A_BATCH] for i in range(0, len(pairs), PAIRS_A_BATCH)]
    return [tokenizer.features(batch, width=tokenizer.length(batch[-1])) for batch in batches]


def sample_corpus() -> Path:
    """Return the folder of the sample corpus: inside an installed package, or beside it in a checkout."""
    package = Path(__file__).parents[2]
    installed = package / "sample_corpus"
    return installed if installed.is_dir() else package.parent / "sample_corpus"
