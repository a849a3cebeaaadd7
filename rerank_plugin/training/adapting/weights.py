"""How much the opinion of each model counts: as much as helps to find the passages that answer questions."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rerank_plugin.training.adapting.lists import AskedList
from rerank_plugin.training.adapting.pseudo_queries import ASKED

Opinions = NDArray[np.float64]

# Of the penalty, beside the summed losses of all lists: the more lists there are, the less the weights before count.
PRIOR_STRENGTH = 1.5
FEWEST_LISTS = 30


def centred_opinions(asked: AskedList) -> Opinions:
    """
    Return the opinions of a list, one row a model. Only differences within a list count: models have different zero points.

    :param asked: The list.
    """
    opinions = np.asarray(asked.opinions, dtype=np.float64)
    centred: Opinions = opinions - opinions.mean(axis=1, keepdims=True)
    return centred


def fit_weights(lists: Sequence[AskedList], prior: Sequence[float]) -> list[float]:
    """
    Fit a conditional logit model (McFadden 1974): it maximises the likelihood that the weighted opinions prefer the passage
    that answers the query to the others of its list, with a ridge penalty that pulls towards the weights before.

    The weights are then scaled so that the weighted opinions differ as much within a list as those of the first model.

    :param lists: All lists; only questions whose first passage answers them are learned from. Headings tell how well a model
        knows what a passage is about, and bi-encoders came out twice as good at that as at answering.
    :param prior: The weights before.
    :returns: A weight for each opinion, none below 0; the weights before if there are fewer than 30 lists to learn from.
    """
    from scipy.optimize import minimize

    asked = [one for one in lists if one.row.has_source and one.row.kind in ASKED]
    if len(asked) < FEWEST_LISTS:
        return list(prior)
    rows = [centred_opinions(one) for one in asked]
    own_spread = np.mean([row[0].std() for row in rows])
    # On one scale, so that the penalty means the same for each.
    scales = np.array([np.mean([row[model].std() for row in rows]) or 1.0 for model in range(len(prior))])
    before = np.asarray(prior) * scales
    leads = [(row[:, :1] - row) / scales[:, None] for row in rows]

    def loss(weights: Opinions) -> tuple[float, Opinions]:
        value, slope = PRIOR_STRENGTH * ((weights - before) ** 2).sum(), 2 * PRIOR_STRENGTH * (weights - before)
        for lead in leads:
            ahead = -(weights @ lead)
            total = np.logaddexp.reduce(ahead)
            value += total
            slope -= lead @ np.exp(ahead - total)
        return value, slope

    fitted = minimize(loss, before, jac=True, method="L-BFGS-B", bounds=[(0.0, None)] * len(prior)).x / scales
    if not fitted.any():
        return list(prior)
    spread = np.mean([(fitted @ row).std() for row in rows])
    return [round(float(weight), 4) for weight in fitted * own_spread / spread]
