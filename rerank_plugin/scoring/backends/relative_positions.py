"""Relative positions of DeBERTa-v2 and -v3 as whole numbers, so that half precision cannot change them."""

from collections.abc import Callable
from typing import Any, cast

import torch


def look_up_positions(network: Any) -> None:
    """
    Let a network look its relative positions up in a table, if it has the structure of DeBERTa-v2 and buckets.

    The network groups far positions into buckets by a logarithm. In a converted network that computes in bf16 the logarithm
    is rounded too, and tokens get wrong positions: on small random networks the logits of OpenVINO 2026.4 then correlate by
    0.88 to 0.96 with those in float32, with the table by 0.9995.

    :param network: A transformers model, changed in place.
    """
    encoder: Any = getattr(network.base_model, "encoder", None)
    buckets, farthest = (getattr(encoder, name, 0) for name in ("position_buckets", "max_relative_positions"))
    if hasattr(encoder, "get_rel_pos") and buckets > 0 and farthest > 0:
        encoder.get_rel_pos = bucket_table(buckets, farthest)


def bucket_table(buckets: int, farthest: int) -> Callable[..., torch.Tensor]:
    """
    Make a function that takes the place of `DebertaV2Encoder.get_rel_pos`.

    :param buckets: Number of buckets in each direction.
    :param farthest: The distance from which on all are in the last bucket.
    :returns: A function of hidden states; it returns the bucket of each token as seen from each other one, int64, shape
        (1, tokens, tokens).
    """
    from transformers.models.deberta_v2.modeling_deberta_v2 import make_log_bucket_position

    table = cast("Any", make_log_bucket_position)(torch.arange(farthest + 1), buckets, farthest).to(torch.int64)

    def look_up(
        hidden_states: torch.Tensor, query_states: torch.Tensor | None = None, relative_pos: torch.Tensor | None = None
    ) -> torch.Tensor:
        if relative_pos is not None:
            return relative_pos
        queries = (hidden_states if query_states is None else query_states).shape[-2]
        distances = torch.arange(queries)[:, None] - torch.arange(hidden_states.shape[-2])[None, :]
        positions: torch.Tensor = table[distances.abs().clamp(max=farthest)] * distances.sign()
        return positions[None]

    return look_up
