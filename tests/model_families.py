"""Tiny rerankers of random weights: built with the real classes of each family, and saved as the family is saved."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from conftest import SENTENCES, WORDS, write_tokenizer
from sentence_transformers import CrossEncoder
from sentence_transformers.base.modules import Dense, Transformer
from sentence_transformers.cross_encoder.modules import LogitScore
from sentence_transformers.sentence_transformer.modules import LayerNorm, Pooling
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
# Larger than usual, so that the scores of different texts differ clearly.
SPREAD = {"initializer_range": 0.3}
CORPUS = [*SENTENCES, *WORDS, "yes no 0 1 query document instruct relevance judge whether the answer can only be"]
QWEN3_TEMPLATE = """\
{%- set instruction = messages | selectattr("role", "eq", "system") | map(attribute="content") | first \
| default("Given a web search query, retrieve relevant passages that answer the query", true) -%}
<|im_start|>system
Judge whether the Document meets the requirements based on the Query and the Instruct provided. Note that the answer can \
only be "yes" or "no".<|im_end|>
<|im_start|>user
<Instruct>: {{ instruction }}
<Query>: {{ messages | selectattr("role", "eq", "query") | map(attribute="content") | first }}
<Document>: {{ messages | selectattr("role", "eq", "document") | map(attribute="content") | first }}<|im_end|>
<|im_start|>assistant
<think>

</think>

"""
MXBAI_TEMPLATE = """\
<|im_start|>system
You are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>
<|im_start|>user
query: {{ (messages | selectattr("role", "eq", "query") | first).content | trim }} 
document: {{ (messages | selectattr("role", "eq", "document") | first).content | trim }} 
You are a search relevance expert who evaluates how well documents match search queries. For each query-document pair, \
provide your binary relevance judgment (0 for not relevant, 1 for relevant).
Relevance:<|im_end|>
<|im_start|>assistant
"""  # noqa: W291 - the template has these spaces


def unigram_pieces(specials: list[str]) -> list[tuple[str, float]]:
    """A vocabulary of SentencePiece pieces, special tokens first."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    alphabet = list("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,?!'-▁")
    trainer = trainers.UnigramTrainer(
        vocab_size=260, initial_alphabet=alphabet, unk_token="<unk>", special_tokens=["<unk>"], show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    state = json.loads(tokenizer.to_str())["model"]["vocab"]
    return [(name, 0.0) for name in specials] + [(piece, score) for piece, score in state if piece != "<unk>"]


def bpe(specials: list[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """A byte-level vocabulary with merges."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([*CORPUS, *(f" {text}" for text in CORPUS), QWEN3_TEMPLATE, MXBAI_TEMPLATE], trainer)
    state = json.loads(tokenizer.to_str())["model"]
    return state["vocab"], [tuple(merge) for merge in state["merges"]]


def qwen_tokenizer(*, template: str | None, length: int) -> Any:
    """Qwen's tokenizer: byte-level BPE, chat tokens, nothing around a pair."""
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    vocabulary, merges = bpe(specials)
    tokenizer = transformers.Qwen2Tokenizer(
        vocab=vocabulary, merges=merges, model_max_length=length, extra_special_tokens=specials[1:]
    )
    tokenizer.chat_template = template
    return tokenizer


def modernbert_tokenizer(length: int) -> Any:
    """ModernBERT's tokenizer: byte-level BPE between [CLS] and [SEP]."""
    specials = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]
    vocabulary, merges = bpe(specials)
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])],
    )
    names = {name: f"[{name[:-6].upper()}]" for name in ("unk_token", "cls_token", "sep_token", "pad_token", "mask_token")}
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=length, model_input_names=["input_ids", "attention_mask"], **names
    )


def save(folder: Path, network: Any, tokenizer: Any) -> Path:
    """Save network and tokenizer as transformers does."""
    network.save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))
    return folder


def bert(folder: Path) -> Path:
    write_tokenizer(folder)
    config = transformers.BertConfig(vocab_size=200, max_position_embeddings=64, num_labels=1, **SIZES, **SPREAD)
    transformers.BertForSequenceClassification(config).save_pretrained(str(folder))
    return folder


def electra(folder: Path) -> Path:
    write_tokenizer(folder)
    config = transformers.ElectraConfig(
        vocab_size=200, embedding_size=16, max_position_embeddings=64, num_labels=1, **SIZES, **SPREAD
    )
    transformers.ElectraForSequenceClassification(config).save_pretrained(str(folder))
    return folder


def xlm_roberta(folder: Path) -> Path:
    tokenizer = transformers.XLMRobertaTokenizer(
        vocab=unigram_pieces(["<s>", "<pad>", "</s>", "<unk>", "<mask>"]), model_max_length=64
    )
    config = transformers.XLMRobertaConfig(
        vocab_size=len(tokenizer), max_position_embeddings=66, type_vocab_size=1, num_labels=1, **SIZES, **SPREAD
    )
    return save(folder, transformers.XLMRobertaForSequenceClassification(config), tokenizer)


def deberta_v3(folder: Path) -> Path:
    pieces = unigram_pieces(["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"])
    tokenizer = transformers.DebertaV2Tokenizer(vocab=pieces, unk_id=3, model_max_length=64)
    config = transformers.DebertaV2Config(
        vocab_size=len(tokenizer),
        max_position_embeddings=64,
        relative_attention=True,
        position_buckets=16,
        norm_rel_ebd="layer_norm",
        share_att_key=True,
        pos_att_type=["p2c", "c2p"],
        position_biased_input=False,
        type_vocab_size=0,
        num_labels=1,
        **SIZES,
        **SPREAD,
    )
    return save(folder, transformers.DebertaV2ForSequenceClassification(config), tokenizer)


def modernbert_config(tokenizer: Any, *, length: int, **others: Any) -> Any:
    shape = {**SIZES, "num_hidden_layers": 3, "local_attention": 16, "global_attn_every_n_layers": 3, **others}
    tokens = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("pad", "cls", "sep")}
    return transformers.ModernBertConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=length,
        num_labels=1,
        bos_token_id=None,
        eos_token_id=None,
        **shape,
        **tokens,
        **SPREAD,
    )


def gte_modernbert(folder: Path, *, length: int = 512) -> Path:
    """Alibaba-NLP/gte-reranker-modernbert-base."""
    tokenizer = modernbert_tokenizer(length)
    config = modernbert_config(tokenizer, length=length, classifier_pooling="mean")
    return save(folder, transformers.ModernBertForSequenceClassification(config), tokenizer)


def ettin(folder: Path, *, length: int = 512, **others: Any) -> Path:
    """cross-encoder/ettin-reranker-*: Transformer, CLS pooling, Dense, LayerNorm, Dense."""
    tokenizer = modernbert_tokenizer(length)
    config = modernbert_config(tokenizer, length=length, **others)
    encoder, width = folder.with_name(f"{folder.name}-encoder"), config.hidden_size
    save(encoder, transformers.ModernBertModel(config), tokenizer)
    chain = [
        Transformer(str(encoder)),
        Pooling(width, pooling_mode="cls"),
        Dense(width, width, activation_function=torch.nn.GELU()),
        LayerNorm(width),
        Dense(width, 1, activation_function=torch.nn.Identity(), module_output_name="scores"),
    ]
    CrossEncoder(modules=chain, device="cpu", activation_fn=torch.nn.Identity()).save_pretrained(str(folder))
    return folder


def causal(
    folder: Path, config: Callable[..., Any], network: Callable[..., Any], *, template: str | None, length: int
) -> tuple[Path, Any]:
    tokenizer = qwen_tokenizer(template=template, length=length)
    shape = {**SIZES, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": length}
    tokens = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id, "bos_token_id": None}
    made = config(vocab_size=len(tokenizer), num_labels=1, tie_word_embeddings=True, **shape, **tokens, **SPREAD)
    return save(folder, network(made), tokenizer), tokenizer


def with_logit_score(folder: Path, base: Path, true: int, false: int | None, **arguments: Any) -> Path:
    chain = [Transformer(str(base), transformer_task="text-generation"), LogitScore(true, false)]
    CrossEncoder(modules=chain, device="cpu", **arguments).save_pretrained(str(folder))
    return folder


def qwen3_reranker(folder: Path, *, length: int = 512, **arguments: Any) -> Path:
    """Qwen/Qwen3-Reranker-*: a causal model with a chat template; yes against no."""
    base = folder.with_name(f"{folder.name}-base")
    classes = (transformers.Qwen3Config, transformers.Qwen3ForCausalLM)
    base, tokenizer = causal(base, *classes, template=QWEN3_TEMPLATE, length=length)
    yes, no = (tokenizer.encode(word)[0] for word in ("yes", "no"))
    arguments = {
        "prompts": {"web_search": "", "books": "Given a question, find the books that answer it"},
        "default_prompt_name": "books",
        "activation_fn": torch.nn.Identity(),
    } | arguments
    return with_logit_score(folder, base, yes, no, **arguments)


def mxbai_rerank_v2(folder: Path, *, length: int = 512) -> Path:
    """mixedbread-ai/mxbai-rerank-*-v2: 1 against 0, instructions after the document, texts trimmed by the template."""
    base = folder.with_name(f"{folder.name}-base")
    classes = (transformers.Qwen2Config, transformers.Qwen2ForCausalLM)
    base, tokenizer = causal(base, *classes, template=MXBAI_TEMPLATE, length=length)
    return with_logit_score(folder, base, *(tokenizer.encode(digit)[0] for digit in "10"))


def plain_causal(folder: Path, *, length: int = 512) -> Path:
    """A causal model as transformers saves it: sentence-transformers adds LogitScore (yes, no)."""
    folder, _ = causal(folder, transformers.Qwen3Config, transformers.Qwen3ForCausalLM, template=None, length=length)
    return folder


def qwen3_classifier(folder: Path, *, length: int = 512) -> Path:
    """tomaarsen/Qwen3-Reranker-*-seq-cls: the last token is classified."""
    classes = (transformers.Qwen3Config, transformers.Qwen3ForSequenceClassification)
    folder, _ = causal(folder, *classes, template=None, length=length)
    return folder


FAMILIES: dict[str, Callable[[Path], Path]] = {
    "bert": bert,
    "electra": electra,
    "xlm-roberta": xlm_roberta,
    "deberta-v3": deberta_v3,
    "gte-modernbert": gte_modernbert,
    "ettin": ettin,
    "qwen3-reranker": qwen3_reranker,
    "mxbai-rerank-v2": mxbai_rerank_v2,
    "causal": plain_causal,
    "qwen3-classifier": qwen3_classifier,
}


def write_family(name: str, folder: Path) -> Path:
    """Build a model of a family, always the same."""
    torch.manual_seed(7)
    folder.parent.mkdir(parents=True, exist_ok=True)
    return FAMILIES[name](folder)
