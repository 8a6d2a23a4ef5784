"""A search without TFX: one transform, many trials, the best run file."""

import json
import os
from collections.abc import Callable
from typing import Any

from runs.config import RunConfig, with_values
from runs.external_inputs import identities
from runs.plan import Plan, make_plan
from runs.provenance import claim, run_info
from runs.tuning.report import report_of
from runs.tuning.space import check_search, trials_digest, without_search
from runs.tuning.trials import TrialData, TrialRunner, places
from runs.tuning.tuner import IsolatedTuner
from transforms.beam.runners import check_runner
from transforms.beam.transform_dataset import GRAPH_DIR, transform_dataset, transformed_files
from transforms.files import write_text
from transforms.integrity import check_values
from transforms.locks import check_unlocked, locked
from transforms.progress import progress

SEARCH_FILE, CONFIG_FILE, REPORT_FILE, BEST_FILE = "search.json", "config.yaml", "tuning.json", "best.yaml"
TRIALS_DIR = "trials"


def tune_run(
    config: RunConfig,
    data_dir: str | os.PathLike[str],
    out: str | os.PathLike[str],
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Searches into `out`, which gets `tuning.json` and `best.yaml`; started again after a kill it goes on.

    `out` also holds `config.yaml`, `transformed/` and `trials/`, one folder a trial. A later search of the
    same run and data in the same folder, with more trials or another space, takes over the trials that it
    has in common with this one.

    Args:
      config: the run, with its section `tuning`.
      data_dir: a dataset.
      out: folder of the search.
      say: receives lines for the user.

    Returns:
      The content of `tuning.json`.

    Raises:
      InputError: the data does not fit the run or holds a value that its column cannot have, nothing is to be
        searched, or `out` holds something else, or another search is at work there.
      ConsortError: every trial failed.
    """
    check_unlocked(out)
    plan = make_plan(config, data_dir, out)
    check_search(plan.facts)
    if plan.changed_shards:
        say(f"{len(plan.changed_shards)} shards are no longer what dataset.json says; taken as they are")
    # Nothing is written before it is known that trials have a place to run.
    places(config.tuning.parallel)
    check_runner(config.pipeline.beam_args)
    with locked(plan.root):
        return _search(plan, say)


def _search(plan: Plan, say: Callable[[str], None]) -> dict[str, Any]:
    config = plan.config
    transformed = plan.root / "transformed"
    if not transformed.exists():
        check_values(plan.data_dir, plan.dataset, config.record, plan.splits)
    identity = {
        "trials_sha256": trials_digest(config),
        "dataset_sha256": plan.dataset.sha256,
        **identities(plan.inputs),
    }
    info = run_info(config, plan.dataset.source, plan.dataset.sha256, plan.inputs)
    record = {**identity, "config": info["config"], "command": info["command"]}
    claim(plan.root, SEARCH_FILE, identity=identity, record=record, kind="search")
    write_text(plan.root / CONFIG_FILE, config.to_yaml())
    # The best run file is the sign of a search that found one.
    (plan.root / BEST_FILE).unlink(missing_ok=True)
    if not transformed.exists():
        say("transforming, once for all trials")
        beam_args = config.pipeline.beam_args
        transform_dataset(
            plan.data_dir, plan.dataset, transformed, plan.feature_set, config.record, beam_args=beam_args
        )
    runner = TrialRunner(plan.root / TRIALS_DIR, config, _trial_data(plan), say)
    tuner = IsolatedTuner(config.tuning, config.seed, plan.root, runner, runner.close)
    try:
        with progress("searching", "trials", lambda: ("searching", len(tuner.outcomes), config.tuning.max_trials)):
            tuner.search()
    finally:
        report = report_of(tuner, config, info)
        write_text(plan.root / REPORT_FILE, json.dumps(report, indent=2) + "\n")
    write_text(plan.root / BEST_FILE, best_config(config, report).to_yaml())
    return report


def best_config(config: RunConfig, report: dict[str, Any]) -> RunConfig:
    """The run file of the best trial: the run's own budget, the trial's values, and nothing to search."""
    return with_values(without_search(config), report["best"]["hyperparameters"], "best trial")


def _trial_data(plan: Plan) -> TrialData:
    transformed = plan.root / "transformed"
    return TrialData(
        feature_set=plan.feature_set,
        transform=str(transformed / GRAPH_DIR),
        train_files=transformed_files(transformed, "train"),
        eval_files=transformed_files(transformed, "eval"),
        dataset_sha256=plan.dataset.sha256,
        raw_files=plan.raw_files(),
        items=plan.items,
        first_time=plan.facts.first_time,
    )
