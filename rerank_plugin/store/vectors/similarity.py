"""How two vectors are compared, with FAISS's numbers on the way in and ours on the way out."""

from typing import Any

import numpy as np
import numpy.typing as npt

# Lengths up to here, and their inverses, are exact enough in single precision.
_LARGE = 1e30


def prepare(vectors: npt.NDArray[Any], similarity: str) -> npt.NDArray[np.float32]:
    """
    Return vectors as FAISS compares them: of length 1 for `cosine`, as they are otherwise.

    :param vectors: One a line.
    :param similarity: `cosine`, `dot_product` or `l2`.
    """
    if similarity == "cosine":
        # Large values would overflow in single precision when squared, and a length in the end, too.
        lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))[:, np.newaxis]
        # A vector of zeros points nowhere: it is left as it is, and its cosine is 0.
        lengths[lengths == 0] = 1
        usual = lengths.size and lengths.max() < _LARGE and lengths.min() > 1 / _LARGE
        vectors = vectors / (lengths.astype(vectors.dtype) if usual else lengths)
    return np.ascontiguousarray(vectors, dtype=np.float32)


def scores(values: npt.NDArray[Any], similarity: str) -> npt.NDArray[np.float64]:
    """
    Return the scores that users see: the cosine, the dot product, or 1 / (1 + squared distance).

    :param values: Inner products, or squared distances for `l2`.
    :param similarity: `cosine`, `dot_product` or `l2`.
    """
    values = values.astype(np.float64)
    if similarity == "l2":
        similarities: npt.NDArray[np.float64] = 1 / (1 + np.maximum(values, 0))
        return similarities
    clipped: npt.NDArray[np.float64] = np.clip(values, -1, 1) if similarity == "cosine" else values
    return clipped


def compare(query: npt.NDArray[np.float32], vectors: npt.NDArray[np.float32], similarity: str) -> npt.NDArray[np.float32]:
    """
    Return what FAISS would: inner products, or squared distances for `l2`.

    :param query: A prepared vector.
    :param vectors: Prepared vectors, one a line.
    :param similarity: `cosine`, `dot_product` or `l2`.
    """
    if similarity == "l2":
        # By differences, as FAISS does for one query: exact for near vectors, where the binomial formula cancels out.
        difference = vectors - query
        distances: npt.NDArray[np.float32] = np.einsum("ij,ij->i", difference, difference)
        return distances
    products: npt.NDArray[np.float32] = vectors @ query
    return products
