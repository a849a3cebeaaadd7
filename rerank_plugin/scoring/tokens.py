"""Query-passage pairs as token ids: each pair is tokenised once, and padded only inside its batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Features = dict[str, NDArray[np.int64]]

PADDING = {"attention_mask": 0, "token_type_ids": 0}


@dataclass(frozen=True)
class EncodedPairs:
    """
    Token ids of pairs, not padded.

    :param columns: For each input of the model (`input_ids`, `attention_mask`, perhaps `token_type_ids`) a list of ids
        for each pair.
    :param pad_token_id: What fills `input_ids` up.
    :param padding_side: `right` or `left`, as the tokenizer says.
    """

    columns: dict[str, list[list[int]]]
    pad_token_id: int
    padding_side: str

    @property
    def lengths(self) -> list[int]:
        """Tokens of each pair."""
        return [len(ids) for ids in self.columns["input_ids"]]

    def batch(self, positions: Sequence[int]) -> Features:
        """
        Pad the chosen pairs to the longest among them.

        :param positions: Which pairs, in the order of the rows.
        :returns: Arrays of shape (pairs, longest pair), int64, by input name.
        """
        width = max(len(self.columns["input_ids"][i]) for i in positions)
        features: Features = {}
        for name, rows in self.columns.items():
            fill = self.pad_token_id if name == "input_ids" else PADDING.get(name, 0)
            array = np.full((len(positions), width), fill, dtype=np.int64)
            for row, i in enumerate(positions):
                ids = rows[i]
                if self.padding_side == "right":
                    array[row, : len(ids)] = ids
                else:
                    array[row, width - len(ids) :] = ids
            features[name] = array
        return features


def encode_pairs(tokenizer: Any, query: str, passages: Sequence[str], *, max_length: int) -> EncodedPairs:
    """
    Tokenise a query with each of the passages.

    Pairs over the limit are cut as sentence-transformers cuts them: the longer of the two texts first.

    :param tokenizer: A tokenizer of transformers.
    :param query: The query.
    :param passages: The passages; at least one.
    :param max_length: Most tokens of a pair, special tokens included.
    :returns: The token ids.
    """
    encoded = tokenizer(
        [query] * len(passages), list(passages), truncation="longest_first", max_length=max_length, padding=False
    )
    return EncodedPairs(
        columns={name: encoded[name] for name in tokenizer.model_input_names if name in encoded},
        pad_token_id=int(tokenizer.pad_token_id or 0),
        padding_side=str(tokenizer.padding_side),
    )
