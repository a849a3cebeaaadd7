"""Which pairs are scored together."""

from collections.abc import Sequence


def plan_batches(lengths: Sequence[int], *, max_tokens: int, max_pairs: int) -> list[list[int]]:
    """
    Group pairs of like length so that no padded batch exceeds the budget.

    :param lengths: Token count of each pair.
    :param max_tokens: Budget of one batch, padding included. A longer single pair gets a batch of its own.
    :param max_pairs: Most pairs in one batch.
    :returns: Batches of positions into `lengths`; every position occurs exactly once.
    """
    # Longest first: an out-of-memory error then comes with the first batch, not the last.
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    batches: list[list[int]] = []
    for position in order:
        current = batches[-1] if batches else []
        # The first pair of a batch is its longest and sets the padded length of all.
        if current and len(current) < max_pairs and (len(current) + 1) * lengths[current[0]] <= max_tokens:
            current.append(position)
        else:
            batches.append([position])
    return batches
