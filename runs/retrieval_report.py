"""What an evaluation reports of retrieval: recall of clicks, the true value where it is known, and baselines."""

from collections.abc import Sequence
from typing import Any

from evaluation.units import Resample
from runs.baselines.retrieval import EvaluatedSplits, beside_baselines
from runs.true_value import JudgedRequests
from serving.retrieval.recall import Catalogued, SeenItems, retrieved


def retrieval_report(
    where: EvaluatedSplits,
    items: Catalogued,
    files: Sequence[str],
    columns: Sequence[str],
    seen: SeenItems | None = None,
    baselines: bool = True,
    resamples: int = 200,
    seed: int = 1,
    resample: Resample | None = None,
) -> dict[str, Any]:
    """Reports what towers retrieve for the users of some splits.

    Args:
      where: what is evaluated.
      items: of the model.
      files: TFRecords of the splits.
      columns: that the user tower reads.
      seen: as in `retrieved`.
      baselines: report those of `runs.baselines.retrieval`, too.
      resamples, seed, resample: of the bootstrap.

    Returns:
      What `recall_of` returns; of simulated logs also `true_value@k` with its bounds (`evaluation.catalogue`) and
      `judged_requests`; with baselines also `baselines`, `gain`, `baselines_fitted` and perhaps `warnings`. Nothing
      without a click.
    """
    result = retrieved(items, files, columns, where.dataset.feature_set, where.record, seen)
    report = result.report(resamples, seed, resample)
    if not len(result):
        return report
    ids = items.places.ids
    log = where.log() if baselines else None
    read = columns if log is None or log.history is None else tuple(dict.fromkeys((*columns, log.history)))
    judged = JudgedRequests.of(where.dataset, files, read, where.record, ids, seen)
    best = None if judged is None else judged.best(items.search)
    comparison = None
    of_baselines: dict[str, Any] = {}
    if baselines:
        comparison, of_baselines = beside_baselines(where, result, ids, seen, resamples, seed, resample, judged, best)
    if judged is not None and best is not None:
        known = comparison or judged.compared(best, {}, resamples, seed, resample)
        by_truth = {key: value for key, value in known.metrics.items() if "true_value@" in key}
        report |= {**by_truth, "judged_requests": len(judged)}
    return {**report, **of_baselines}
