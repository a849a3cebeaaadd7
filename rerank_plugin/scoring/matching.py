"""
A narrow network for a first look.

Each token is told how well the other text matches it, and a few narrow layers of BERT read that. A network as narrow as this
one does not find the matches by itself, unless it sees many millions of pairs.
"""

from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional

from rerank_plugin.scoring.exit_rule import FIRST_LOOK_TOKENS

FEED_FORWARD = 2  # as a multiple of the width
MATCH_WIDTH = 64
# Centres and width of the kernels; after Xiong et al., "End-to-end neural ad-hoc ranking with kernel pooling", 2017.
LOWEST, HIGHEST, KERNELS, DEVIATION = -0.2, 0.9, 12, 0.08
NEIGHBOURS = 4  # tokens on each side


class MatchEmbeddings(nn.Module):
    """
    Takes the place of BERT's embeddings.

    The embedding of a token is the sum of four: the model's own, projected; its position's; its side's (query or passage);
    and that of its match. For the match, the model's embeddings are projected once more and compared by their cosines. The
    highest one with a token of the other side goes through Gaussian kernels, beside a kernel for the same token; the means
    of the kernels over the neighbours of the token are read as well.

    :param words: The model's embeddings, which are shared and not trained.
    :param width: Size of the result.
    :param separator: Id of the token behind the query.
    :param padding: Id of the token that pads.
    """

    _centres: torch.Tensor

    def __init__(self, words: nn.Embedding, width: int, *, separator: int, padding: int) -> None:
        super().__init__()
        size = words.embedding_dim
        self.word_embeddings = words.requires_grad_(requires_grad=False)
        self.projection = nn.Linear(size, width, bias=False)
        self.matching = nn.Linear(size, MATCH_WIDTH, bias=False)
        self.position_embeddings = nn.Embedding(FIRST_LOOK_TOKENS, width)
        self.side_embeddings = nn.Embedding(2, width)
        self.match_embeddings = nn.Linear(2 * (KERNELS + 1), width)
        self.LayerNorm = nn.LayerNorm(width, eps=1e-12)
        self._separator, self._padding = separator, padding
        self.register_buffer("_centres", torch.linspace(LOWEST, HIGHEST, KERNELS), persistent=False)

    def start_from_words(self) -> None:
        """Start both projections with the principal components of the model's embeddings."""
        words = self.word_embeddings.weight.detach().float()
        _, components = torch.linalg.eigh(torch.cov(words.T))
        components = components.flip(1).T
        for layer, scale in ((self.projection, 0.05 / float(words.std())), (self.matching, 1.0)):
            first = components[: layer.out_features]
            layer.weight.data[: len(first)] = first * scale

    def forward(self, input_ids: torch.Tensor, **_: Any) -> torch.Tensor:
        """
        Embed a batch.

        :param input_ids: Shape (pairs, tokens): a token for the classifier, the query, separators, the passage, a separator.
        :returns: Shape (pairs, tokens, width).
        """
        ends = input_ids == self._separator
        # Behind the first separator. A second one belongs to neither text.
        is_passage = (ends.long().cumsum(1) - ends.long()) > 0
        is_text = ~ends & (input_ids != self._padding) & (torch.arange(input_ids.shape[1], device=input_ids.device) > 0)
        words = self.word_embeddings(input_ids)
        kernels = self._kernels(input_ids, words, is_passage, is_text)
        around = functional.avg_pool1d(kernels.transpose(1, 2), 2 * NEIGHBOURS + 1, stride=1, padding=NEIGHBOURS).transpose(
            1, 2
        )
        embedded = (
            self.projection(words)
            + self.position_embeddings.weight[: input_ids.shape[1]]
            + self.side_embeddings(is_passage.long())
            + self.match_embeddings(torch.cat([kernels, around], dim=-1))
        )
        result: torch.Tensor = self.LayerNorm(embedded)
        return result

    def _kernels(
        self, input_ids: torch.Tensor, words: torch.Tensor, is_passage: torch.Tensor, is_text: torch.Tensor
    ) -> torch.Tensor:
        """Return how well each token is matched, shape (pairs, tokens, kernels); 0 where it is not text."""
        vectors = functional.normalize(self.matching(words), dim=-1)
        readable = (is_passage[:, :, None] != is_passage[:, None, :]) & is_text[:, None, :]
        cosines = (vectors @ vectors.transpose(1, 2)).masked_fill(~readable, -1.0)
        soft = torch.exp(-((cosines.amax(-1, keepdim=True) - self._centres) ** 2) / (2 * DEVIATION**2))
        # By the ids: a cosine of 1 is not exactly 1 in low precision.
        same = ((input_ids[:, :, None] == input_ids[:, None, :]) & readable).any(-1, keepdim=True)
        return torch.cat([soft, same.to(soft.dtype)], dim=-1) * is_text[:, :, None]


def matching_network(words: nn.Embedding, *, layers: int, width: int, heads: int, separator: int, padding: int) -> Any:
    """
    Build the network, with random weights behind the embeddings.

    :param words: The model's embeddings.
    :param layers: Number of layers.
    :param width: Size of a token in the layers, a multiple of the heads.
    :param heads: Attention heads of a layer.
    :param separator: Id of the token behind the query.
    :param padding: Id of the token that pads.
    :returns: A sequence classifier of transformers, without dropout.
    """
    from transformers import BertConfig, BertForSequenceClassification

    # transformers' types do not know the fields that all configurations have.
    config = cast("Any", BertConfig)(
        vocab_size=1,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=FEED_FORWARD * width,
        max_position_embeddings=FIRST_LOOK_TOKENS,
        pad_token_id=0,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        num_labels=1,
        use_cache=False,
        attn_implementation="sdpa",
    )
    network: Any = BertForSequenceClassification(config)
    network.bert.embeddings = MatchEmbeddings(words, width, separator=separator, padding=padding)
    return network
