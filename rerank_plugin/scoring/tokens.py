"""Tokenise each text once, and join pairs into arrays that are padded per batch."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from rerank_plugin.errors import ModelError
from rerank_plugin.scoring.framing import Framing, Side, frame_pair

Features = dict[str, NDArray[np.int64]]
Tokens = NDArray[np.int32]

# Models without learned positions may report a limit of 1e30, or none at all.
LONGEST_INPUT = 131_072
# Texts tokenised in one go: the tokenizer's own result takes about 100 bytes a token.
TEXTS_AT_ONCE = 64


@dataclass(frozen=True)
class Pair:
    """
    The token ids of one input of the model, without the constant tokens around the texts.

    :param query: Ids of the query.
    :param passage: Ids of the passage, or of a window of it.
    """

    query: Tokens
    passage: Tokens


@dataclass(frozen=True)
class InputSpec:
    """
    The inputs that a model takes.

    :param input_names: Names of its arrays: `input_ids`, `attention_mask`, perhaps `token_type_ids` or `position_ids`.
    :param max_length: Maximum tokens of an input, constant tokens included.
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
    :param framing: What stands around the texts; `None`: the tokenizer's own special tokens.
    """

    def __init__(self, tokenizer: Tokenizer, input_spec: InputSpec, framing: Framing | None = None) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self.input_spec = input_spec
        self.framing = framing or frame_pair(tokenizer)
        self._constant = [
            (np.array(ids, dtype=np.int64), np.array(types, dtype=np.int64))
            for ids, types in zip(
                (self.framing.before, self.framing.between, self.framing.after), self.framing.types, strict=True
            )
        ]
        self._types = (self.framing.query.type_id, self.framing.passage.type_id)
        self.special_tokens = sum(len(ids) for ids, _ in self._constant)

    @classmethod
    def of(
        cls,
        tokenizer: Any,
        *,
        max_length: int | None,
        frame: Callable[[Tokenizer], Framing] = frame_pair,
        extra_inputs: tuple[str, ...] = (),
    ) -> "PairTokenizer":
        """
        Build it from a transformers tokenizer.

        :param tokenizer: The tokenizer.
        :param max_length: Maximum tokens of an input; `None` if the model has no limit.
        :param frame: Finds what stands around the texts.
        :param extra_inputs: Inputs that the model takes beyond those that the tokenizer names.
        :raises ModelError: If it has no fast version (tokenizers library).
        """
        fast = getattr(tokenizer, "backend_tokenizer", None)
        if fast is None:
            raise ModelError(
                f"the tokenizer {type(tokenizer).__name__} has no fast version: "
                "choose a model whose folder has a tokenizer.json"
            )
        input_spec = InputSpec(
            input_names=(*tokenizer.model_input_names, *extra_inputs),
            max_length=min(max_length or LONGEST_INPUT, LONGEST_INPUT),
            pad_token_id=int(tokenizer.pad_token_id or 0),
            padding_side=str(tokenizer.padding_side),
        )
        own = Tokenizer.from_str(fast.to_str())
        own.no_truncation()
        own.no_padding()
        return cls(own, input_spec, frame(own))

    @classmethod
    def load(cls, folder: Path) -> "PairTokenizer":
        """Read what `save` wrote."""
        fields = json.loads((folder / "input.json").read_text(encoding="utf-8"))
        framing = Framing.of_json(fields.pop("framing"))
        input_spec = InputSpec(**{**fields, "input_names": tuple(fields["input_names"])})
        return cls(Tokenizer.from_file(str(folder / "tokenizer.json")), input_spec, framing)

    def save(self, folder: Path) -> None:
        """Write tokenizer, input spec and framing to a folder."""
        self._tokenizer.save(str(folder / "tokenizer.json"))
        fields = {**asdict(self.input_spec), "framing": asdict(self.framing)}
        (folder / "input.json").write_text(json.dumps(fields), encoding="utf-8")

    def with_input_spec(self, input_spec: InputSpec) -> "PairTokenizer":
        """
        Return the same tokenizer for another input spec, such as a shorter one.

        :param input_spec: The new spec.
        """
        return PairTokenizer(self._tokenizer, input_spec, self.framing)

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        """
        Tokenise passages, each separately and without truncation.

        :param texts: The passages.
        :returns: The ids of each, without the constant tokens.
        """
        return self._encode(texts, self.framing.passage)

    def encode_query(self, text: str) -> Tokens:
        """
        Tokenise a query, with the prompt of the model if it has one, without truncation.

        :param text: The query.
        :returns: Its ids, without the constant tokens.
        """
        return self._encode([text], self.framing.query)[0]

    def _encode(self, texts: Sequence[str], side: Side) -> list[Tokens]:
        encoded: list[Tokens] = []
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            chunk = [side.left + self._trimmed(text) + side.right for text in texts[start : start + TEXTS_AT_ONCE]]
            encodings = self._tokenizer.encode_batch_fast(chunk, add_special_tokens=False)
            encoded += [
                np.array(encoding.ids[side.skipped : len(encoding.ids) - side.dropped], dtype=np.int32)
                for encoding in encodings
            ]
        return encoded

    def _trimmed(self, text: str) -> str:
        return text.strip() if self.framing.trims else text

    def characters(self, text: str, start: int, stop: int) -> tuple[int, int]:
        """
        Find the characters that a range of a passage's tokens covers.

        :param text: The passage.
        :param start: First token.
        :param stop: Token after the last.
        :returns: First character, and character after the last.
        """
        side, trimmed = self.framing.passage, self._trimmed(text)
        encoding = self._tokenizer.encode(side.left + trimmed + side.right, add_special_tokens=False)
        offsets = encoding.offsets[side.skipped : len(encoding.ids) - side.dropped][start:stop]
        if not offsets:
            return 0, 0
        before = text.find(trimmed)
        first, last = (min(max(0, at - len(side.left)), len(trimmed)) for at in (offsets[0][0], offsets[-1][1]))
        return before + first, before + last

    def part(self, passage: Tokens, start: int, stop: int) -> Tokens:
        """
        Return a window of a passage, ended as a whole passage is.

        :param passage: Ids of the passage.
        :param start: First token.
        :param stop: Token after the last.
        """
        return _cut(passage[start:], stop - start, self.framing.passage.tail)

    @property
    def tail(self) -> int:
        """Number of tokens that `part` adds to a window."""
        return len(self.framing.passage.tail)

    def shortened_query(self, query: Tokens, most: int) -> Tokens:
        """
        Cut the end of a query that is too long.

        :param query: Ids of the query.
        :param most: Maximum number of tokens.
        """
        tail = self.framing.query.tail
        return query if len(query) <= most else _cut(query, max(0, most - len(tail)), tail)

    def encoding(self, text: str, *, add_special_tokens: bool) -> Encoding:
        """
        Tokenise a text, and keep everything that the tokenizer says about each token.

        :param text: The text.
        :param add_special_tokens: Whether to put the special tokens of a single text around it.
        """
        return self._tokenizer.encode(text, add_special_tokens=add_special_tokens)

    def length(self, pair: Pair) -> int:
        """Count the tokens of a pair, constant tokens included."""
        return len(pair.query) + len(pair.passage) + self.special_tokens

    def truncated(self, pair: Pair) -> Pair:
        """
        Truncate a pair that is too long as sentence-transformers does: the longer text first, then both evenly; in a chat
        template the end of the passage. (There, a query that fills the input alone is cut too, not the words after it.)

        :param pair: The pair.
        :returns: A pair that fits.
        """
        room = max(0, self.input_spec.max_length - self.special_tokens)
        query, passage = len(pair.query), len(pair.passage)
        if query + passage <= room:
            return pair
        if self.framing.cuts_end:
            kept = self.shortened_query(pair.query, room - self.tail)
            return Pair(kept, _cut(pair.passage, max(0, room - self.tail - len(kept)), self.framing.passage.tail))
        shorter = min(query, passage)
        if shorter > room // 2:
            query, passage = (room // 2, room - room // 2) if query <= passage else (room - room // 2, room // 2)
        elif query <= passage:
            passage = room - query
        else:
            query = room - passage
        return Pair(pair.query[:query], pair.passage[:passage])

    def features(self, pairs: Sequence[Pair], *, width: int) -> Features:
        """
        Join pairs with their constant tokens, and pad them.

        :param pairs: The pairs, in the order of the rows; at least one.
        :param width: Tokens to which each pair is padded; at least the length of the longest.
        :returns: Arrays of shape (pairs, width), int64, by input name.
        """
        (before, types_before), (between, types_between), (after, types_after) = self._constant
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
        if "position_ids" in self.input_spec.input_names:
            arrays["position_ids"] = np.maximum(filled.cumsum(axis=1) - 1, 0)
        return {name: arrays[name] for name in self.input_spec.input_names}


def _cut(tokens: Tokens, most: int, tail: tuple[int, ...]) -> Tokens:
    """Return the first tokens, then the tail if there were more."""
    return tokens if len(tokens) <= most else np.concatenate([tokens[:most], np.array(tail, dtype=tokens.dtype)])
