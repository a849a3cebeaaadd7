import random

import numpy as np
import pytest
from conftest import SENTENCES, WORDS, write_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from rerank_plugin.errors import ModelError
from rerank_plugin.scoring.tokens import Pair, PairTokenizer

texts = st.lists(st.sampled_from([*WORDS, "unknown", "42", "café"]), max_size=70).map(" ".join)


@pytest.fixture(scope="module", params=["bert", "roberta", "left"])
def peer(request, tmp_path_factory):
    """A transformers tokenizer: BERT's, RoBERTa's (two separators, no types), and one with left padding."""
    folder = tmp_path_factory.mktemp(request.param)
    write_tokenizer(folder)
    if request.param == "roberta":
        from tokenizers import Tokenizer
        from tokenizers.processors import RobertaProcessing
        from transformers import PreTrainedTokenizerFast

        fast = Tokenizer.from_file(str(folder / "tokenizer.json"))
        fast.post_processor = RobertaProcessing(("[SEP]", 3), ("[CLS]", 2))
        names = {"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]", "unk_token": "[UNK]"}
        return PreTrainedTokenizerFast(
            tokenizer_object=fast, model_max_length=64, model_input_names=["input_ids", "attention_mask"], **names
        )
    return AutoTokenizer.from_pretrained(str(folder), padding_side="left" if request.param == "left" else "right")


def ours(peer, queries, passages, max_length=64):
    tokenizer = PairTokenizer.of(peer, max_length=max_length)
    pairs = [
        tokenizer.truncated(Pair(q, p)) for q, p in zip(tokenizer.encode(queries), tokenizer.encode(passages), strict=True)
    ]
    return tokenizer.features(pairs, width=max(map(tokenizer.length, pairs)))


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_gives_the_arrays_of_transformers(peer, data):
    pairs = data.draw(st.lists(st.tuples(texts, texts), min_size=1, max_size=5))
    max_length = data.draw(st.integers(8, 64))
    queries, passages = [list(part) for part in zip(*pairs, strict=True)]
    expected = peer(queries, passages, truncation=True, max_length=max_length, padding=True, return_tensors="np")
    arrays = ours(peer, queries, passages, max_length)
    assert set(arrays) == set(expected)
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)


def test_survives_saving(peer, tmp_path):
    tokenizer = PairTokenizer.of(peer, max_length=64)
    tokenizer.save(tmp_path)
    loaded = PairTokenizer.load(tmp_path)
    assert loaded.input_spec == tokenizer.input_spec
    for a, b in zip(loaded.encode(SENTENCES), tokenizer.encode(SENTENCES), strict=True):
        np.testing.assert_array_equal(a, b)


def test_characters_of_tokens_are_those_of_the_text(peer):
    tokenizer = PairTokenizer.of(peer, max_length=64)
    text = " ".join(random.Random(3).choices(WORDS, k=30))
    start, stop = tokenizer.characters(text, 3, 8)
    assert text[start:stop].split() == text.split()[3:8]


def test_a_tokenizer_without_a_fast_version_is_an_error():
    with pytest.raises(ModelError, match="no fast version"):
        PairTokenizer.of(object(), max_length=64)
