"""Static int8: NNCF measures activation ranges on real pairs once; dynamic int8 would do so for each batch."""

import logging
import random
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from itertools import cycle
from typing import Any

import rich

from rerank_plugin.collections.beir import BeirDataset
from rerank_plugin.collections.sample import sample_corpus
from rerank_plugin.scoring.tokens import Features, Pair, PairTokenizer

# For `ConversionRecipe.needs`.
NNCF = ("nncf", "precision 'int8' needs nncf to convert the model: pip install 'rerank-plugin[int8]'")
PAIRS = 128
# What stays as it is: rotary position embeddings, which must be exact; and the output layer of a language model, one row for
# each pair, which OpenVINO 2026.4 computes with the wrong number of rows in int8.
NOT_QUANTIZED = [".*rotary.*", ".*lm_head.*", ".*embed_out.*"]
PAIRS_PER_BATCH = 4


def quantize(model: Any, tokenizer: PairTokenizer, inputs: Collection[str]) -> Any:
    """
    Quantise a model to int8.

    :param model: The float32 model, of OpenVINO or ONNX.
    :param tokenizer: Its tokenizer.
    :param inputs: Names of the inputs that the model has; the exporter leaves out what the network does not use.
    :returns: The model with int8 matrix products.
    """
    import nncf

    batches = [{name: array for name, array in batch.items() if name in inputs} for batch in quantization_batches(tokenizer)]
    with _quiet_nncf():
        return nncf.quantize(
            model,
            nncf.Dataset(batches),
            model_type=nncf.ModelType.TRANSFORMER,
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(batches),
            ignored_scope=nncf.IgnoredScope(patterns=NOT_QUANTIZED, validate=False),
        )


@contextmanager
def _quiet_nncf() -> Iterator[None]:
    """Suppress NNCF's lines about every layer, and its progress bars, which it draws on Rich's global console."""
    nncf_logger, console = logging.getLogger("nncf"), rich.get_console()
    level, was_quiet = nncf_logger.level, console.quiet
    nncf_logger.setLevel(logging.ERROR)
    console.quiet = True
    try:
        yield
    finally:
        nncf_logger.setLevel(level)
        console.quiet = was_quiet


def quantization_batches(tokenizer: PairTokenizer) -> list[Features]:
    """
    Build the calibration inputs of static quantisation.

    Half of the pairs join a query with a passage that answers it, half with a random passage, so that high and low scores
    occur. The texts are those of the sample corpus, English and Russian, of all its lengths.

    :param tokenizer: The model's tokenizer.
    :returns: Batches, always the same.
    """
    rng = random.Random(13)  # noqa: S311 - no secret depends on it
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
        passage = rng.choice(answers.get(query_id) or list(passages)) if wants_answer else rng.choice(list(passages))
        pair = Pair(tokenizer.encode_query(query), tokenizer.encode([passages[passage]])[0])
        pairs.append(tokenizer.truncated(pair))
    pairs.sort(key=tokenizer.length)
    batches = [pairs[i : i + PAIRS_PER_BATCH] for i in range(0, len(pairs), PAIRS_PER_BATCH)]
    return [tokenizer.features(batch, width=tokenizer.length(batch[-1])) for batch in batches]
