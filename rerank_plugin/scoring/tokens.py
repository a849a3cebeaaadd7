"""Tokenise each text once, and join pairs into arrays that are padded per batch."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from rerank_plugin.errors import ModelError

Features = dict[str, NDArray[np.int64]]
Tokens = NDArray[np.int32]

# Models without learned positions report a limit of 1e30 or none at all.
LONGEST_INPUT = 8192
# Texts tokenised in one go: the tokenizer's own result takes about 100 bytes a token.
TEXTS_AT_ONCE = 64


@dataclass(frozen=True)
class Pair:
    """
    The token ids of one input of the model, without special tokens.

    :param query: Ids of the query.
    :param passage: Ids of the passage, or of a window of it.
    """

    query: Tokens
    passage: Tokens


@dataclass(frozen=True)
class InputSpec:
    """
    The inputs that a model takes.

    :param input_names: Names of its arrays: `input_ids`, `attention_mask`, perhaps `token_type_ids`.
    :param max_length: Maximum tokens of an input, special tokens included.
    :param pad_token_id: The id that pads `input_ids`.
    :param padding_side: `right` or `left`.
    """

    input_names: tuple[str, ...]
    max_length: int
    pad_token_id: int
    padding_side: str


class PairTokenizer:
    """
    Tokenises queries and passages separately, and joins them into the inputs that the model takes.

    It needs only the tokenizers library: neither transformers nor torch.

    :param tokenizer: The fast tokenizer.
    :param input_spec: The inputs that the model takes.
    """

    def __init__(self, tokenizer: Tokenizer, input_spec: InputSpec) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self.input_spec = input_spec
        # An example shows the special tokens around and between the two texts, and the type of each token.
        example = tokenizer.encode("a", "a")
        sides = example.sequence_ids
        if 0 not in sides or 1 not in sides:
            raise ModelError(
                "the tokenizer does not join a query and a passage into one input: it does not belong to a cross-encoder"
            )
        first, second = sides.index(0), sides.index(1)
        last_of_first = second - 1 - sides[second - 1 :: -1].index(0)
        last_of_second = len(sides) - 1 - sides[::-1].index(1)
        ids, types = np.array(example.ids), np.array(example.type_ids)
        self._special = [
            (ids[a:b], types[a:b]) for a, b in ((0, first), (last_of_first + 1, second), (last_of_second + 1, len(sides)))
        ]
        self._types = (int(types[first]), int(types[second]))
        self.special_tokens = sum(len(special_ids) for special_ids, _ in self._special)

    @classmethod
    def of(cls, tokenizer: Any, *, max_length: int | None) -> "PairTokenizer":
        """
        Build it from a transformers tokenizer.

        :param tokenizer: The tokenizer.
        :param max_length: Maximum tokens of an input; `None` if the model has no limit.
        :raises ModelError: If it has no fast version (tokenizers library).
        """
        fast = getattr(tokenizer, "backend_tokenizer", None)
        if fast is None:
            raise ModelError(
                f"the tokenizer {type(tokenizer).__name__} has no fast version: "
                "choose a model whose folder has a tokenizer.json"
            )
        input_spec = InputSpec(
            input_names=tuple(tokenizer.model_input_names),
            max_length=min(max_length or LONGEST_INPUT, LONGEST_INPUT),
            pad_token_id=int(tokenizer.pad_token_id or 0),
            padding_side=str(tokenizer.padding_side),
        )
        return cls(Tokenizer.from_str(fast.to_str()), input_spec)

    @classmethod
    def load(cls, folder: Path) -> "PairTokenizer":
        """Read what `save` wrote."""
        fields = json.loads((folder / "input.json").read_text(encoding="utf-8"))
        input_spec = InputSpec(**{**fields, "input_names": tuple(fields["input_names"])})
        return cls(Tokenizer.from_file(str(folder / "tokenizer.json")), input_spec)

    def save(self, folder: Path) -> None:
        """Write tokenizer and input spec to a folder."""
        self._tokenizer.save(str(folder / "tokenizer.json"))
        (folder / "input.json").write_text(json.dumps(asdict(self.input_spec)), encoding="utf-8")

    @property
    def vocabulary_size(self) -> int:
        """Size of the vocabulary, without tokens added later."""
        return int(self._tokenizer.get_vocab_size(with_added_tokens=False))

    def with_input_spec(self, input_spec: InputSpec) -> "PairTokenizer":
        """
        Return the same tokenizer for another input spec, such as a shorter one.

        :param input_spec: The new spec.
        """
        return PairTokenizer(self._tokenizer, input_spec)

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        """
        Tokenise texts, each separately and without truncation.

        :param texts: The texts.
        :returns: The ids of each text, without special tokens.
        """
        encoded: list[Tokens] = []
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            chunk = list(texts[start : start + TEXTS_AT_ONCE])
            encodings = self._tokenizer.encode_batch_fast(chunk, add_special_tokens=False)
            encoded += [np.array(encoding.ids, dtype=np.int32) for encoding in encodings]
        return encoded

    def characters(self, text: str, start: int, stop: int) -> tuple[int, int]:
        """
        Find the characters that a range of tokens covers.

        :param text: The text.
        :param start: First token.
        :param stop: Token after the last.
        :returns: First character, and character after the last.
        """
        offsets = self._tokenizer.encode(text, add_special_tokens=False).offsets[start:stop]
        return (offsets[0][0], offsets[-1][1]) if offsets else (0, 0)

    def encoding(self, text: str, *, add_special_tokens: bool) -> Encoding:
        """
        Tokenise a text, and keep everything that the tokenizer says about each token.

        :param text: The text.
        :param add_special_tokens: Whether to put the special tokens of a single text around it.
        """
        return self._tokenizer.encode(text, add_special_tokens=add_special_tokens)

    def length(self, pair: Pair) -> int:
        """Count the tokens of a pair, special tokens included."""
        return len(pair.query) + len(pair.passage) + self.special_tokens

    def truncated(self, pair: Pair) -> Pair:
        """
        Truncate a pair that is too long as transformers does: the longer text first, then both evenly.

        :param pair: The pair.
        :returns: A pair that fits.
        """
        room = max(0, self.input_spec.max_length - self.special_tokens)
        query, passage = len(pair.query), len(pair.passage)
        if query + passage <= room:
            return pair
        shorter = min(query, passage)
        if shorter > room // 2:
            query, passage = (room // 2, room - room // 2) if query <= passage else (room - room // 2, room // 2)
        elif query <= passage:
            passage = room - query
        else:
            query = room - passage
        return Pair(pair.query[:query], pair.passage[:passage])

    def features(self, pairs: Sequence[Pair], *, width: int, rows: int | None = None) -> Features:
        """
        Join pairs with their special tokens, and pad them.

        :param pairs: The pairs, in the order of the rows; at least one.
        :param width: Tokens to which each pair is padded; at least the length of the longest.
        :param rows: Number of rows; rows beyond the pairs repeat the last pair. `None`: one per pair.
        :returns: Arrays of shape (rows, width), int64, by input name.
        """
        pairs = [*pairs, *[pairs[-1]] * ((rows or 0) - len(pairs))]
        (before, types_before), (between, types_between), (after, types_after) = self._special
        queries = np.array([len(pair.query) for pair in pairs])
        passages = np.array([len(pair.passage) for pair in pairs])
        lengths = queries + passages + self.special_tokens
        at = np.arange(width)
        filled = at < lengths[:, None]
        if self.input_spec.padding_side == "left":
            filled = filled[:, ::-1]
        arrays = {
            "input_ids": np.full(filled.shape, self.input_spec.pad_token_id, dtype=np.int64),
            "attention_mask": filled.astype(np.int64),
            "token_type_ids": np.zeros(filled.shape, dtype=np.int64),
        }
        # In row-major order: boolean indexing fills the mask in that order.
        arrays["input_ids"][filled] = np.concatenate(
            [ids for pair in pairs for ids in (before, pair.query, between, pair.passage, after)]
        )
        kinds = np.concatenate([types_before, self._types[:1], types_between, self._types[1:], types_after])
        repeats = np.ones((len(pairs), len(kinds)), dtype=np.int64)
        repeats[:, len(before)], repeats[:, len(before) + 1 + len(between)] = queries, passages
        arrays["token_type_ids"][filled] = np.repeat(np.tile(kinds, len(pairs)), repeats.ravel())
        return {name: arrays[name] for name in self.input_spec.input_names}
