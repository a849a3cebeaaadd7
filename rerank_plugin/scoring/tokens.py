"""Texts as token ids: every text is tokenised once; pairs become arrays that are padded only inside their batch."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from rerank_plugin.errors import ModelError

Features = dict[str, NDArray[np.int64]]
Tokens = NDArray[np.int32]

# Models without learned positions report a limit of 1e30 or none at all.
LONGEST_INPUT = 8192
# Texts that are tokenised in one go: the tokenizer's own result is some 100 bytes a token.
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
    What inputs a model takes.

    :param input_names: Names of the arrays that it reads: `input_ids`, `attention_mask`, perhaps `token_type_ids`.
    :param max_length: Most tokens of an input, special tokens included.
    :param pad_token_id: What fills `input_ids` up.
    :param padding_side: `right` or `left`.
    """

    input_names: tuple[str, ...]
    max_length: int
    pad_token_id: int
    padding_side: str


class PairTokenizer:
    """
    Tokenises queries and passages separately, and joins them into the inputs that the model takes.

    It needs the library tokenizers only: neither transformers nor torch.

    :param tokenizer: The fast tokenizer.
    :param input_spec: What inputs the model takes.
    """

    def __init__(self, tokenizer: Tokenizer, input_spec: InputSpec) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self.input_spec = input_spec
        # The special tokens around and between two texts, and the type of each token, show on an example.
        example = tokenizer.encode("a", "a")
        parts = example.sequence_ids
        if 0 not in parts or 1 not in parts:
            raise ModelError(
                "the tokenizer does not put a query and a passage together: it is not the one of a cross-encoder"
            )
        first, second = parts.index(0), parts.index(1)
        last_of_first = second - 1 - parts[second - 1 :: -1].index(0)
        last_of_second = len(parts) - 1 - parts[::-1].index(1)
        ids, types = np.array(example.ids), np.array(example.type_ids)
        self._special = [
            (ids[a:b], types[a:b]) for a, b in ((0, first), (last_of_first + 1, second), (last_of_second + 1, len(parts)))
        ]
        self._types = (int(types[first]), int(types[second]))
        self.special_tokens = sum(len(part) for part, _ in self._special)

    @classmethod
    def of(cls, tokenizer: Any, *, max_length: int | None) -> "PairTokenizer":
        """
        Take over a tokenizer of transformers.

        :param tokenizer: The tokenizer.
        :param max_length: Most tokens of an input; `None` where the model has no limit.
        :raises ModelError: If it has no fast version (library tokenizers).
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
        facts = json.loads((folder / "input.json").read_text(encoding="utf-8"))
        input_spec = InputSpec(**{**facts, "input_names": tuple(facts["input_names"])})
        return cls(Tokenizer.from_file(str(folder / "tokenizer.json")), input_spec)

    def save(self, folder: Path) -> None:
        """Write tokenizer and input spec to a folder."""
        self._tokenizer.save(str(folder / "tokenizer.json"))
        (folder / "input.json").write_text(json.dumps(asdict(self.input_spec)), encoding="utf-8")

    @property
    def vocabulary_size(self) -> int:
        """How many tokens it knows, those that were added to the vocabulary afterwards left out."""
        return int(self._tokenizer.get_vocab_size(with_added_tokens=False))

    def with_input_spec(self, input_spec: InputSpec) -> "PairTokenizer":
        """
        Make the same tokenizer for other inputs, such as shorter ones.

        :param input_spec: What they are like.
        """
        return PairTokenizer(self._tokenizer, input_spec)

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        """
        Tokenise texts, each on its own and whole.

        :param texts: The texts.
        :returns: The ids of each, without special tokens.
        """
        encoded: list[Tokens] = []
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            part = self._tokenizer.encode_batch_fast(list(texts[start : start + TEXTS_AT_ONCE]), add_special_tokens=False)
            encoded += [np.array(encoding.ids, dtype=np.int32) for encoding in part]
        return encoded

    def characters(self, text: str, start: int, stop: int) -> tuple[int, int]:
        """
        Find the characters that a range of tokens stands for.

        :param text: The text.
        :param start: First token.
        :param stop: Token after the last.
        :returns: First character, and character after the last.
        """
        offsets = self._tokenizer.encode(text, add_special_tokens=False).offsets[start:stop]
        return (offsets[0][0], offsets[-1][1]) if offsets else (0, 0)

    def length(self, pair: Pair) -> int:
        """Count the tokens of a pair, special tokens included."""
        return len(pair.query) + len(pair.passage) + self.special_tokens

    def truncated(self, pair: Pair) -> Pair:
        """
        Cut a pair that is too long as transformers does: of the longer text first, evenly once both are equal.

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
        :param width: Tokens to which each is padded; at least as many as the longest has.
        :param rows: Rows; those beyond the pairs repeat the last pair. `None`: as many as pairs.
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
        # One after another, row by row: that is the order in which a mask is filled.
        arrays["input_ids"][filled] = np.concatenate(
            [part for pair in pairs for part in (before, pair.query, between, pair.passage, after)]
        )
        kinds = np.concatenate([types_before, self._types[:1], types_between, self._types[1:], types_after])
        repeats = np.ones((len(pairs), len(kinds)), dtype=np.int64)
        repeats[:, len(before)], repeats[:, len(before) + 1 + len(between)] = queries, passages
        arrays["token_type_ids"][filled] = np.repeat(np.tile(kinds, len(pairs)), repeats.ravel())
        return {name: arrays[name] for name in self.input_spec.input_names}
