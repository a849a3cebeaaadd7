import pytest
import torch
from transformers.models.deberta_v2.modeling_deberta_v2 import build_relative_position

from rerank_plugin.scoring.backends.relative_positions import bucket_table


@pytest.mark.parametrize(("buckets", "farthest"), [(16, 64), (256, 512), (32, 100)])
@pytest.mark.parametrize("tokens", [1, 7, 64, 700])
def test_table_holds_the_positions_of_the_network(buckets, farthest, tokens):
    states = torch.zeros(1, tokens, 4)
    expected = build_relative_position(states, states, bucket_size=buckets, max_position=farthest)
    found = bucket_table(buckets, farthest)(states)
    # The network limits all beyond the last bucket to it.
    torch.testing.assert_close(found.clamp(-buckets, buckets), expected.clamp(-buckets, buckets))


def test_positions_that_are_given_are_kept():
    states, given = torch.zeros(1, 3, 4), torch.ones(1, 3, 3, dtype=torch.int64)
    assert bucket_table(16, 64)(states, relative_pos=given) is given
