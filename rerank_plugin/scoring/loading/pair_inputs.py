"""How a loaded cross-encoder reads a pair: its prompt, its chat template, its inputs; checked against the model itself."""

import inspect
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from tokenizers import Tokenizer

from rerank_plugin.errors import ModelError
from rerank_plugin.scoring.framing import Framing, frame_chat, frame_pair
from rerank_plugin.scoring.tokens import Pair, PairTokenizer

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

# Compared with what sentence-transformers makes of them.
SAMPLES = [
    ("what is it?", "It is a sample, of 12 words or so; and it is short."),
    ("Wie heißt es", "\nA second line: 日本語 🙂 \n"),
]


def pair_tokenizer(model: "CrossEncoder") -> PairTokenizer:
    """
    Build the tokenizer that gives a model the ids that sentence-transformers gives it.

    :param model: The model.
    :returns: The tokenizer.
    :raises ModelError: If the model has no fast tokenizer, or its inputs cannot be made of a query and a passage that are
        tokenised separately.
    """
    first = cast("Any", model[0])
    # sentence-transformers uses the template wherever there is one.
    frame = partial(_chat_framing, model) if "message" in first.modality_config else partial(_text_framing, model)
    tokenizer = PairTokenizer.of(
        model.tokenizer, max_length=_max_length(model), frame=frame, extra_inputs=_position_inputs(first, model.tokenizer)
    )
    _compare(model, tokenizer)
    return tokenizer


def _prompt(model: "CrossEncoder") -> str:
    return model.prompts.get(model.default_prompt_name or "", "") or ""


def _text_framing(model: "CrossEncoder", tokenizer: Tokenizer) -> Framing:
    return frame_pair(tokenizer, prompt=_prompt(model))


def _chat_framing(model: "CrossEncoder", tokenizer: Tokenizer) -> Framing:
    first, prompt = cast("Any", model[0]), _prompt(model)
    formatter, settings = first.input_formatter, dict(first.processing_kwargs.get("chat_template", {}))
    settings.pop("restore_suffix", None)
    failure = formatter.pair_roles_failure(settings)
    if failure is not None:
        raise ModelError(
            f"its chat template cannot carry a query and a passage ({failure}): pass one that writes the roles 'query' and "
            "'document', tokenizer_kwargs={'chat_template': ...}, or choose a reranker that has one"
        )

    def render(query: str, passage: str) -> str:
        messages = [formatter.pair_to_messages((query, passage))]
        if prompt:
            messages = formatter.prepend_prompt_to_messages(messages, prompt)
        return str(first.processor.apply_chat_template(messages[0], tokenize=False, **settings))

    try:
        return frame_chat(tokenizer, render)
    except ModelError as error:
        raise ModelError(
            f"{error}: pass one that writes the query, then the passage, once each and unchanged, "
            "tokenizer_kwargs={'chat_template': ...}, or use Haystack's SentenceTransformersSimilarityRanker"
        ) from error


def _max_length(model: "CrossEncoder") -> int | None:
    """Return the tokens that the model reads, as its tokenizer or its saved settings limit them."""
    settings = cast("Any", model[0]).processing_kwargs
    limits = [settings.get(place, {}).get("max_length") for place in ("text", "common", "chat_template")]
    return min((limit for limit in (*limits, model.max_seq_length) if limit is not None), default=None)


def _position_inputs(first: Any, tokenizer: Any) -> tuple[str, ...]:
    """
    Ask for explicit positions where the padding is on the left.

    Counted from the padding, a token's position would depend on the other pairs of its batch. Networks with a padding index
    in their position embeddings (RoBERTa) find the positions by themselves.
    """
    counts_from_ids = any(
        isinstance(getattr(module, "padding_idx", None), int) and hasattr(module, "position_embeddings")
        for module in first.model.modules()
    )
    takes_positions = "position_ids" in inspect.signature(first.model.forward).parameters
    return ("position_ids",) if tokenizer.padding_side == "left" and takes_positions and not counts_from_ids else ()


def _compare(model: "CrossEncoder", tokenizer: PairTokenizer) -> None:
    """
    Compare the inputs of sample pairs with those that sentence-transformers makes, and score them.

    :raises ModelError: If they differ: the scores would too, without a word. If there is not one score for each pair.
    """
    import torch
    from sentence_transformers.util import batch_to_device

    expected = model.preprocess(SAMPLES, prompt=_prompt(model) or None)
    pairs = [Pair(tokenizer.encode_query(query), tokenizer.encode([passage])[0]) for query, passage in SAMPLES]
    if max(map(tokenizer.length, pairs)) > tokenizer.input_spec.max_length:
        pairs = [tokenizer.truncated(pair) for pair in pairs]
    features = tokenizer.features(pairs, width=max(map(tokenizer.length, pairs)))
    for name in ("input_ids", "attention_mask"):
        theirs = np.asarray(expected[name])
        if theirs.shape != features[name].shape or not np.array_equal(theirs, features[name]):
            raise ModelError(
                f"its {name} are not those of sentence-transformers ({type(model[0]).__name__} prepares them in a way that "
                "this package does not know): use it with Haystack's SentenceTransformersSimilarityRanker"
            )
    with torch.inference_mode():
        scores = model(batch_to_device(expected, model.device)).get("scores")
    if scores is None or scores.numel() != len(SAMPLES):
        chain = " -> ".join(type(module).__name__ for module in model)
        raise ModelError(
            f"it gives no score for a pair (its modules are {chain}): choose a chain whose last module writes one number "
            "for each pair to 'scores'"
        )
