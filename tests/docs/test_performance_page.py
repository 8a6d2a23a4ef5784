"""The figures of the page of speed are those of the committed results."""

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "performance.md").read_text()


def _load(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())
    return found


def test_training_speed_is_that_of_the_committed_run() -> None:
    result = _load("train")
    for size, title in (("deepfm_100k", "100 k"), ("deepfm_1m", "1 M"), ("deepfm_4m", "4 M")):
        speeds = [result["examples_per_s"][size][key] for key in ("consort", "consort_bfloat16", "deepctr", "fuxictr")]
        ratios = result["ratio_to_fastest_peer_by_size"][size]
        told = [f"{value:,.0f}" for value in speeds]
        told += [f"{ratios[key]:.2f}" for key in ("ratio_to_fastest_peer", "ratio_to_fastest_peer_bfloat16")]
        assert f"| {title} | {' | '.join(told)} |" in PAGE
    for key in ("step_ratio_4m_to_100k", "step_ratio_4_peers"):
        assert f"{result[key]:.2f} times" in PAGE
    for key, name in (("deepfm", "DeepFM"), ("dcn", "DCN"), ("pnn", "PNN"), ("fibinet", "FiBiNET")):
        step, speed = result["step_ms"]["models"][key], result["examples_per_s"]["models"][key]
        assert f"| {name} | {step:.1f} | {speed:,.0f} |" in PAGE
    assert not result["missing_peers"]


def test_what_speed_costs_is_that_of_the_committed_run() -> None:
    result = _load("optimizer")
    for key, name in (
        ("auc_lazy_to_dense_each", "lazy Adam minus dense Adam"),
        ("auc_bfloat16_to_float32_each", "bfloat16 minus float32"),
        ("auc_other_weights_to_lazy_each", "other first weights minus these"),
    ):
        assert f"| {name} | {' | '.join(f'{value * 1e4:+.1f}' for value in result[key])} |" in PAGE


def test_scoring_of_sets_is_that_of_the_committed_run() -> None:
    result = _load("score")
    for key in ("ratio_exact_to_linear", "ratio_exact_to_linear_attention_alone"):
        assert f"{result[key]:.1f} times" in PAGE
    assert f"{result['time_ratio_4000_to_1000']:.2f} times" in PAGE
    for candidates, found in result["latency_ms"].items():
        told = [found[attention][way] for attention in ("elu1", "exact") for way in ("graph", "xla")]
        assert f"| {candidates} | {' | '.join(f'{value:.1f}' for value in told)} |" in PAGE
    for attention, name in (("elu1", "linear"), ("exact", "exact")):
        told = [result["peak_mb"][attention][size] for size in ("1000", "2000", "4000", "8000")]
        assert f"| {name} | {' | '.join(f'{value:.0f}' for value in told)} |" in PAGE


def test_steps_of_a_pair_and_answers_are_those_of_the_committed_runs() -> None:
    pair, compiled, plain = _load("train_duet"), _load("serve"), _load("serve_plain")
    steps = pair["step_ms"]["duet"]
    assert f"{pair['step_ratio_duet']:.2f} times" in PAGE
    assert f"{steps['duet']:.0f} ms" in PAGE and f"{steps['set_ranker']:.0f} ms" in PAGE
    for result in (compiled, plain):
        assert f"{result['p50_ms']:.1f} ms" in PAGE and f"(p99 {result['p99_ms']:.1f} ms)" in PAGE


def test_retrieval_and_steps_of_cs3_are_those_of_the_committed_runs() -> None:
    result, steps = _load("retrieve"), _load("train_cs3")
    assert f"| exact, one user at once | {result['p50_ms']:.2f} | {result['p99_ms']:.2f} |" in PAGE
    for size in ("8", "32"):
        assert f"| exact, {size} at once | {result['batch_ms_per_query'][size]:.2f} | |" in PAGE
    hnsw = f"| {result['hnsw_p50_ms']:.2f} | {result['hnsw_p99_ms']:.2f} |"
    assert f"| HNSW, recall {result['hnsw_recall']:.3f} {hnsw}" in PAGE
    assert f"{result['ratio_exact_to_hnsw']:.1f} times" in PAGE and f"{result['hnsw_build_s']:.0f} s" in PAGE
    assert f"{steps['ratio_cs3_to_plain']:.2f}" in PAGE
    for name in ("cs3", "cs3_plain"):
        assert f"{steps['examples_per_s']['cs3'][name]:,.0f}" in PAGE
    for name in ("100k", "4m"):
        assert f"{steps['step_ms']['store'][name]:.2f} ms" in PAGE
    assert f"{steps['store_ratio_4m_to_100k']:.2f} times" in PAGE


def test_the_stream_of_the_cs3_page_is_the_committed_run() -> None:
    result, page = _load("online"), " ".join((ROOT / "docs" / "cs3.md").read_text().split())
    for figure in (
        f"{result['answers']:,} answers",
        f"p50 {result['p50_ms']:.1f} ms",
        f"p99 {result['p99_ms']:.1f} ms",
        f"{result['memory_mb_early']:,.0f} MB",
        f"{result['memory_mb_late']:,.0f} MB",
    ):
        assert figure in page
    assert result["spans"] == result["versions_answered"] == 20 and not result["failures"]


def test_the_mixed_load_of_the_serving_page_is_the_committed_run() -> None:
    result, page = _load("versions"), " ".join((ROOT / "docs" / "serving.md").read_text().split())
    early, late, most = (result[f"memory_mb_{when}"] for when in ("early", "late", "most"))
    assert f"none of {result['requests']:,} requests failed, all {result['answers']:,} answers" in page
    assert f"{early:.0f} MB early and {late:.0f} MB late (most {most:.0f} MB)" in page
    assert not result["failed"] and not result["wrong"] and result["server_running"] and result["minutes"] == 30
    assert result["flips"] == result["versions_answered"] == 29
