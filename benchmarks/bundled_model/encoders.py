"""Encoders on the GPU: token ids stay there, pairs are built there, and vectors and logits come out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch.nn import functional
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoTokenizer
from transformers.models.mpnet import modeling_mpnet

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
# On a CPU without instructions for bfloat16 torch emulates it, many times slower than float32.
HALF = torch.bfloat16 if DEVICE == "cuda" or torch.ops.mkldnn._is_mkldnn_bf16_supported() else torch.float32
TOKENS_AT_ONCE = 200_000 if DEVICE == "cuda" else 8_000  # on a CPU, what fits its cache


_masks: list[tuple[Any, Any]] = []


def _mask(position_bias, attention_mask, dtype):
    """Return bias and mask as one tensor, shared by all layers of a forward pass."""
    if not _masks or _masks[0][0] is not position_bias:
        mask = position_bias.to(dtype)
        if attention_mask is not None:
            blocked = ~attention_mask if attention_mask.dtype == torch.bool else attention_mask < -1
            mask = mask.masked_fill(blocked, torch.finfo(dtype).min)
        _masks[:] = [(position_bias, mask)]
    return _masks[0][1]


def _fused_attention(self, hidden_states, attention_mask=None, position_bias=None, **_):
    """Compute MPNet's attention with torch's fused kernel, several times faster than the plain one in transformers."""
    shape = (*hidden_states.shape[:-1], -1, self.attention_head_size)
    q, k, v = (layer(hidden_states).view(shape).transpose(1, 2) for layer in (self.q, self.k, self.v))
    mask = _mask(position_bias, attention_mask, q.dtype)
    context = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return (self.o(context.transpose(1, 2).reshape(hidden_states.shape)),)


modeling_mpnet.MPNetSelfAttention.forward = _fused_attention


def chunks(lengths: np.ndarray, tokens: int) -> Iterator[np.ndarray]:
    """Yield positions of texts of similar length, as many as fit the token budget with padding; shortest first."""
    order = np.argsort(lengths, kind="stable")
    at = 0
    while at < len(order):
        rows = tokens // max(1, int(lengths[order[at]]))
        rows = max(1, tokens // max(1, int(lengths[order[min(len(order) - 1, at + rows)]])))
        yield order[at : at + rows]
        at += rows


@dataclass(frozen=True)
class Encoder:
    """
    A pretrained encoder.

    :param source: Hub id or folder.
    :param query_prefix: Prefix of queries for its bi-encoder.
    :param passage_prefix: Prefix of passages.
    """

    source: str
    query_prefix: str = ""
    passage_prefix: str = ""

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer, without padding and truncation."""
        tokenizer = Tokenizer.from_str(AutoTokenizer.from_pretrained(self.source).backend_tokenizer.to_str())
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return tokenizer

    def bi_encoder(self) -> Any:
        """Load the encoder in half precision."""
        return AutoModel.from_pretrained(self.source).eval().to(DEVICE, HALF)

    def cross_encoder(self) -> Any:
        """Load the encoder with a new head, in fp32, without dropout."""
        torch.manual_seed(42)
        config = AutoConfig.from_pretrained(
            self.source, num_labels=1, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
        )
        return AutoModelForSequenceClassification.from_pretrained(self.source, config=config).float().to(DEVICE)


class Texts:
    """
    Token ids of many texts, concatenated, without special tokens.

    :param tokenizer: The tokenizer.
    :param texts: The texts.
    :param longest: Maximum tokens of a text; longer texts are cut.
    """

    def __init__(self, tokenizer: Tokenizer, texts: Sequence[str], longest: int) -> None:
        arrays = [np.zeros(0, dtype=np.int32)]
        for start in range(0, len(texts), 4096):
            encodings = tokenizer.encode_batch_fast(list(texts[start : start + 4096]), add_special_tokens=False)
            arrays += [np.asarray(encoding.ids[:longest], dtype=np.int32) for encoding in encodings]
        self.lengths = np.array([len(ids) for ids in arrays[1:]], dtype=np.int64)
        self.flat = torch.from_numpy(np.concatenate([*arrays, [0]]).astype(np.int32)).to(DEVICE)
        self.starts = torch.from_numpy(np.cumsum([len(ids) for ids in arrays[:-1]])).to(DEVICE)
        self.size = torch.from_numpy(self.lengths).to(DEVICE)

    def at(self, rows: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
        """Return the ids at offsets within texts, in the shape of the offsets; arbitrary ids beyond their ends."""
        return self.flat[(self.starts[rows][:, None] + offsets).clamp(0, len(self.flat) - 1)]


class Pairs:
    """
    Joins queries and passages, as the tokenizer of the model would.

    :param tokenizer: BERT's or XLM-RoBERTa's.
    :param queries: Texts.
    :param passages: Texts.
    """

    def __init__(self, tokenizer: Tokenizer, queries: Texts, passages: Texts) -> None:
        self.is_bert = tokenizer.token_to_id("[CLS]") is not None
        first, last, pad = ("[CLS]", "[SEP]", "[PAD]") if self.is_bert else ("<s>", "</s>", "<pad>")
        self.first, self.last, self.pad = (tokenizer.token_to_id(token) for token in (first, last, pad))
        self.between = 1 if self.is_bert else 2
        self.queries, self.passages = queries, passages

    def lengths(self, q: np.ndarray, d: np.ndarray, longest: int) -> np.ndarray:
        """Return the tokens of pairs."""
        return np.minimum(self.queries.lengths[q] + self.passages.lengths[d] + 2 + self.between, longest)

    def inputs(self, q: np.ndarray, d: np.ndarray, longest: int) -> dict[str, torch.Tensor]:
        """Return the inputs of the model for pairs given as positions."""
        width = min(longest, -(-int(self.lengths(q, d, longest).max()) // 8) * 8)
        queries, passages = torch.from_numpy(q).to(DEVICE), torch.from_numpy(d).to(DEVICE)
        query_size = self.queries.size[queries][:, None]
        room = longest - 2 - self.between - query_size
        passage_start = 1 + query_size + self.between
        end = passage_start + torch.minimum(self.passages.size[passages][:, None], room)
        at = torch.arange(width, device=DEVICE)[None]
        ids = torch.full((len(q), width), self.pad, device=DEVICE, dtype=torch.int32)
        ids = torch.where((at >= 1) & (at <= query_size), self.queries.at(queries, at - 1), ids)
        ids = torch.where((at >= passage_start) & (at < end), self.passages.at(passages, at - passage_start), ids)
        ids = torch.where(((at > query_size) & (at < passage_start)) | (at == end), self.last, ids)
        ids = torch.where(at == 0, self.first, ids)
        inputs = {"input_ids": ids.long(), "attention_mask": (at <= end).long()}
        if self.is_bert:
            inputs["token_type_ids"] = ((at >= passage_start) & (at <= end)).long()
        return inputs

    def chunks(self, q: np.ndarray, d: np.ndarray, longest: int, tokens: int) -> Iterator[np.ndarray]:
        """Yield positions of pairs of similar length, as many as fit the token budget with padding."""
        return chunks(self.lengths(q, d, longest), tokens)

    @torch.inference_mode()
    def score(self, model: Any, q: np.ndarray, d: np.ndarray, longest: int = 512) -> np.ndarray:
        """Return the logits of pairs, from a model in half precision."""
        out = torch.empty(len(q), device=DEVICE)
        for rows in self.chunks(q, d, longest, TOKENS_AT_ONCE):
            out[torch.from_numpy(rows).to(DEVICE)] = model(**self.inputs(q[rows], d[rows], longest)).logits.float().view(-1)
        return out.cpu().numpy()


@torch.inference_mode()
def vectors(encoder: Encoder, model: Any, texts: Sequence[str], prefix: str, longest: int = 384) -> torch.Tensor:
    """Return the normalised means of the last layer, one row per text, in half precision."""
    tokenizer = encoder.tokenizer
    tokenizer.enable_truncation(longest)
    encoded = tokenizer.encode_batch_fast([prefix + text for text in texts])
    out = torch.empty(len(texts), model.config.hidden_size, dtype=torch.float16, device=DEVICE)
    for part in chunks(np.array([len(encoding.ids) for encoding in encoded], dtype=np.int64), TOKENS_AT_ONCE):
        ids = torch.zeros(len(part), len(encoded[part[-1]].ids), dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, i in enumerate(part):
            ids[row, : len(encoded[i].ids)] = torch.tensor(encoded[i].ids)
            mask[row, : len(encoded[i].ids)] = 1
        ids, mask = ids.to(DEVICE), mask.to(DEVICE)
        hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state.float()
        mean = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        out[torch.from_numpy(part).to(DEVICE)] = functional.normalize(mean, dim=1).half()
    return out
