"""A calibration from a collection to its file: index, score the candidates of judged queries, fit, write."""

from pathlib import Path

from rerank_plugin.checks import check_count
from rerank_plugin.errors import InvalidValueError
from rerank_plugin.evaluation.calibrate import CalibrationReport, calibrate, calibration_file, check_calibration
from rerank_plugin.evaluation.collection import open_collection
from rerank_plugin.evaluation.judged_candidates import score_candidates
from rerank_plugin.evaluation.plan import fit_to_index, single_group
from rerank_plugin.evaluation.request import EvalRequest
from rerank_plugin.progress import ProgressCallback, counts_of


def run_calibration(
    request: EvalRequest, *, method: str, output: Path | None, on_progress: ProgressCallback | None = None
) -> tuple[CalibrationReport, str, Path]:
    """
    Calibrate the ranker of a pipeline on a collection.

    :param request: The collection, the queries, and one pipeline with a `CrossEncoderRanker`. Without an index, the
        collection is indexed, and the index is kept for the next time.
    :param method: See `calibrate`.
    :param output: The file to write; `None`: in the model's folder.
    :param on_progress: Called with the current step, the work done and the total work.
    :returns: What was fitted, the name of the collection, and the file.
    :raises InvalidValueError: If a value is wrong, or the judgements do not fit the collection or its index.
    :raises InputFileError: If a file of the collection is missing or malformed.
    :raises PipelineConfigError: If the pipeline has no `CrossEncoderRanker`.
    """
    if request.dataset is None:
        raise InvalidValueError("a calibration needs a judged collection: pass its folder")
    check_count("candidates", request.candidates)
    (pipeline,) = request.pipelines
    collection = open_collection(request.dataset, split=request.split)
    queries, qrels = collection.judged(lang=request.language, limit=request.limit)
    template = fit_to_index(pipeline, None, request)
    file = calibration_file(template, output)
    check_calibration(method, file)
    group = single_group(request, collection, queries, [template], on_progress)
    judged = score_candidates(
        fit_to_index(pipeline, group.index, request),
        queries,
        qrels,
        depth=request.candidates,
        on_progress=counts_of(on_progress, "Scoring"),
    )
    source = {
        "dataset": collection.name,
        "split": collection.split,
        "pipeline": pipeline,
        "candidates": request.candidates,
    }
    report = calibrate(judged, method=method, source=source)
    report.calibration.save(file)
    return report, collection.name, file
