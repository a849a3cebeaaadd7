"""The modules of a sentence-transformers cross-encoder as one network, from ids to logits, and how it is exported."""

from typing import TYPE_CHECKING, Any, cast

import torch
from sentence_transformers.cross_encoder.modules import LogitScore
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from rerank_plugin.scoring.backends.networks import shorten_last_layer
from rerank_plugin.scoring.backends.relative_positions import look_up_positions

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

EXPORTED_ATTENTION = "rerank_plugin_sdpa"


def score_chain(cross_encoder: "CrossEncoder", inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """
    Run all modules of a cross-encoder.

    :param cross_encoder: The model.
    :param inputs: Tensors of shape (pairs, tokens), by input name.
    :returns: Its scores before any activation, shape (pairs,) or (pairs, 1).
    """
    features: dict[str, Any] = dict(inputs)
    if cast("Any", cross_encoder[0]).transformer_task == "text-generation":
        features["logits_to_keep"] = 1  # of a language model, the last token's are enough
    scores: torch.Tensor = cross_encoder(features)["scores"]
    return scores


class LogitsNetwork(torch.nn.Module):
    """
    The network with its inputs in a fixed order and the logits as the only output, as tracing needs it.

    Its last layer is computed for the first token only, where the architecture allows it, and a language model's output for
    the two tokens that its score is made of.

    :param cross_encoder: The model, changed in place: weights are shared, converted to float32, and modules replaced.
    :param input_names: Names of the inputs, in order.
    """

    def __init__(self, cross_encoder: "CrossEncoder", input_names: tuple[str, ...]) -> None:
        super().__init__()
        self._chain = cross_encoder.float()
        self._input_names = input_names
        self.eval()
        network = cast("Any", cross_encoder[0]).model
        # Nothing is generated; and the cache of transformers before 5.23 cannot be converted.
        network.config.use_cache = False
        look_up_positions(network)
        _mask_for_export(network)
        _keep_scored_tokens(cross_encoder)
        shorten_last_layer(network, lambda: self(*self.example()))

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Return logits of shape (pairs, 1) or (pairs,), for inputs of shape (pairs, tokens)."""
        return score_chain(self._chain, dict(zip(self._input_names, inputs, strict=True)))

    def example(self) -> tuple[torch.Tensor, ...]:
        """
        Return inputs to trace with.

        Two pairs of different length: a batch of one, or a mask of ones only, would be traced as constants.
        """
        mask = torch.ones((2, 16), dtype=torch.int64)
        mask[1, 8:] = 0
        return tuple(mask.clone() for _ in self._input_names)


def _sdpa_mask_without_empty_rows(*arguments: Any, **settings: Any) -> torch.Tensor | None:
    """
    Let padding tokens that see no token at all see every token.

    Their outputs are never read, but OpenVINO computes the softmax of an empty row as nan, and nan times zero is nan.
    """
    mask: torch.Tensor | None = sdpa_mask(*arguments, **settings)
    return mask if mask is None else mask | ~mask.any(dim=-1, keepdim=True)


def _mask_for_export(network: Any) -> None:
    """Choose the attention of `_sdpa_mask_without_empty_rows` where the network uses PyTorch's attention by transformers."""
    if getattr(network.config, "_attn_implementation", None) != "sdpa":
        return
    AttentionInterface.register(EXPORTED_ATTENTION, sdpa_attention_forward)
    AttentionMaskInterface.register(EXPORTED_ATTENTION, _sdpa_mask_without_empty_rows)
    network.set_attn_implementation(EXPORTED_ATTENTION)


def _keep_scored_tokens(cross_encoder: "CrossEncoder") -> None:
    """Cut the output layer of a language model to the tokens that `LogitScore` reads, of a hundred thousand and more."""
    score, network = cross_encoder[-1], cast("Any", cross_encoder[0]).model
    if type(score) is not LogitScore or len(cross_encoder) != 2:
        return
    output = network.get_output_embeddings()
    if type(output) is not torch.nn.Linear:
        return
    tokens = [token for token in (score.true_token_id, score.false_token_id) if token is not None]
    smaller = torch.nn.Linear(output.in_features, len(tokens), bias=output.bias is not None)
    with torch.no_grad():
        smaller.weight.copy_(output.weight[tokens])
        if output.bias is not None:
            smaller.bias.copy_(output.bias[tokens])
    network.set_output_embeddings(smaller.eval())
    score.true_token_id, score.false_token_id = 0, 1 if len(tokens) > 1 else None
