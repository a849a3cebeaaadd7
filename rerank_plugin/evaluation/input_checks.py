"""Checks of the caller's runs and judgements: input that trec_eval would misread or crash on is an error."""

from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np

from rerank_plugin.checks import shown
from rerank_plugin.collections.runs import Ranking
from rerank_plugin.errors import InvalidValueError

# trec_eval allocates a table with one entry per grade.
HIGHEST_GRADE = 1_000_000


def check_qrels(qrels: Mapping[str, Mapping[str, int]]) -> None:
    """
    Check judgements.

    :param qrels: For each query the grades of its judged documents.
    :raises InvalidValueError: If the mapping is malformed, an id is not text, or a grade is not a whole number.
    """
    if not isinstance(qrels, Mapping):
        raise InvalidValueError(f"qrels must be a mapping from query ids to grades by document, got {shown(qrels)}")
    check_ids("qrels", qrels)
    for query, grades in qrels.items():
        if not isinstance(grades, Mapping):
            raise InvalidValueError(
                f"qrels of query {shown(query)} must be a mapping from document ids to grades, got {shown(grades)}"
            )
        check_ids(f"qrels of query {shown(query)}", grades)
        for document, grade in grades.items():
            if type(grade) is not int or not -HIGHEST_GRADE <= grade <= HIGHEST_GRADE:
                _check_grade(query, document, grade)


def _check_grade(query: str, document: str, grade: Any) -> None:
    if not isinstance(grade, int) or isinstance(grade, bool) or not -HIGHEST_GRADE <= grade <= HIGHEST_GRADE:
        raise InvalidValueError(
            f"qrels of query {shown(query)}: the grade of document {shown(document)} must be a whole number up to "
            f"{HIGHEST_GRADE}, got {shown(grade)}"
        )


def check_ranking(query: str, ranking: Ranking) -> Ranking:
    """
    Check the type of an answer.

    :param query: Id of the query, for the error message.
    :param ranking: Scores by document id, or documents.
    :returns: The answer, unchanged.
    :raises InvalidValueError: If it is neither.
    """
    if isinstance(ranking, Mapping):
        return ranking
    is_list = isinstance(ranking, Sequence) and not isinstance(ranking, str | bytes)
    if not is_list or not all(hasattr(document, "meta") and hasattr(document, "score") for document in ranking):
        raise InvalidValueError(
            f"query {shown(query)}: an answer must be scores by document id or a list of Documents, got {shown(ranking)}"
        )
    for document in ranking:
        if document.score is not None:
            _number(query, document.id, document.score)
    return ranking


def check_scores(query: str, scores: Mapping[str, Any]) -> Mapping[str, float]:
    """
    Check the ids and scores of an answer. NaN is left to `without_ties`.

    :param query: Id of the query, for the error message.
    :param scores: Scores by document id; infinite ones are allowed.
    :returns: The scores as Python numbers.
    :raises InvalidValueError: If an id is not text, or a score is not a number.
    """
    check_ids(f"run of query {shown(query)}", scores)
    if all(type(score) is float for score in scores.values()):
        return scores
    return {document: _number(query, document, score) for document, score in scores.items()}


def _number(query: str, document: str, score: Any) -> float:
    requirement = f"query {shown(query)}: the score of document {shown(document)} must be a number"
    if not isinstance(score, Real) or isinstance(score, bool | np.bool_):
        raise InvalidValueError(f"{requirement}, got {shown(score)}")
    try:
        return float(score)
    except OverflowError:
        raise InvalidValueError(f"{requirement} that a float can hold, got {shown(score)}") from None


def check_ids(place: str, ids: Iterable[str]) -> None:
    """
    Check ids.

    :param place: Where they occur, for the error message.
    :param ids: The ids.
    :raises InvalidValueError: If one is not text, or has a NUL or a lone surrogate, which trec_eval does not accept.
    """
    try:
        text = "".join(ids)
        if text.isascii() and "\0" not in text:
            return
    except TypeError:
        pass
    for id_ in ids:
        if not isinstance(id_, str):
            raise InvalidValueError(f"{place}: ids must be strings, got {shown(id_)}: convert them with str()")
        if "\0" in id_ or any("\ud800" <= character <= "\udfff" for character in id_):
            raise InvalidValueError(f"{place}: the id {shown(id_)} holds a character that is not text: remove it")
