"""The files of deploy/ fit the schemas of the programs that read them; nothing of them was run here.

`compose-spec.json` is the schema of github.com/compose-spec/compose-spec (commit 170098b, Apache 2.0) without its
descriptions. Flags and metrics are those in the source of TensorFlow Serving 2.16.1 and TensorFlow 2.16.2.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from serving.cascade.config import load_cascade, models_configs
from serving.server.model_config import read_metrics_path
from tests.helpers.source_tree import ROOT

DEPLOY = ROOT / "deploy"
FLAGS = frozenset(
    """allow_version_labels_for_unavailable_models batching_parameters_file enable_batching
    enable_grpc_healthcheck_service enable_model_warmup enable_per_model_batching_parameters enable_profiler
    enable_signature_method_name_check file_system_poll_wait_seconds flush_filesystem_caches grpc_channel_arguments
    grpc_max_threads grpc_socket_path load_retry_interval_micros max_num_load_retries mixed_precision model_base_path
    model_config_file model_config_file_poll_wait_seconds model_name monitoring_config_file num_load_threads
    num_request_iterations_for_warmup num_tflite_interpreters_per_pool num_tflite_pools num_unload_threads
    per_process_gpu_memory_fraction platform_config_file port prefer_tflite_model
    remove_unused_fields_from_bundle_metagraph rest_api_enable_cors_support rest_api_num_threads rest_api_port
    rest_api_timeout_in_ms saved_model_tags skip_initialize_tpu ssl_config_file tensorflow_inter_op_parallelism
    tensorflow_intra_op_parallelism tensorflow_session_config_file tensorflow_session_parallelism
    thread_pool_factory_config_file use_alts_credentials version xla_cpu_compilation_enabled""".split()
)
COUNTERS = {
    ":tensorflow:serving:request_count": {"model_name", "status"},
    ":tensorflow:serving:request_example_count_total": {"model"},
    ":tensorflow:serving:batching_session:wrapped_run_count": set(),
    ":tensorflow:cc:saved_model:load_attempt_count": {"model_path", "status"},
    ":tensorflow:cc:saved_model:load_latency": {"model_path"},
    ":tensorflow:core:direct_session_runs": set(),
    "up": set(),
}
HISTOGRAMS = {
    ":tensorflow:serving:request_latency": {"model_name", "API", "entrypoint"},
    ":tensorflow:serving:runtime_latency": {"model_name", "API", "runtime"},
    ":tensorflow:serving:request_example_counts": {"model"},
    ":tensorflow:serving:model_warmup_latency": {"model_path", "status"},
    ":tensorflow:serving:batching_session:queuing_latency": {"thread_pool_name"},
}
METRICS = COUNTERS | {f"{name}_{part}": labels for name, labels in HISTOGRAMS.items() for part in ("sum", "count")}
METRICS |= {f"{name}_bucket": labels | {"le"} for name, labels in HISTOGRAMS.items()}
OF_SCRAPE = {"job", "instance"}


def _yaml(path: str) -> Any:
    return yaml.safe_load((DEPLOY / path).read_text())


def _manifests() -> list[dict[str, Any]]:
    return [one for path in sorted((DEPLOY / "kubernetes").iterdir()) for one in yaml.safe_load_all(path.read_text())]


def problems(value: Any, kind: str, where: str) -> Iterator[str]:
    """Yields where a manifest differs from a type of Kubernetes' OpenAPI description, as its Python client has it."""
    from kubernetes import client

    if inner := re.fullmatch(r"(list|dict)[\[(](?:str, )?(.+)[\])]", kind):
        if not isinstance(value, {"list": list, "dict": dict}[inner[1]]):
            yield f"{where}: {value!r} is no {inner[1]}"
            return
        for key, one in value.items() if isinstance(value, dict) else enumerate(value):
            yield from problems(one, inner[2], f"{where}.{key}")
        return
    if kind in ("object", "str", "int", "bool", "datetime"):
        types: dict[str, type] = {"str": str, "int": int, "bool": bool}
        if kind in types and type(value) is not types[kind]:
            yield f"{where}: {value!r} is no {kind}"
        return
    model = getattr(client, kind)
    names = {json_name: name for name, json_name in model.attribute_map.items()}
    if not isinstance(value, dict):
        yield f"{where}: {value!r} is no {kind}"
        return
    for key, one in value.items():
        if key not in names:
            yield f"{where}: {kind} has no {key!r}"
        else:
            yield from problems(one, model.openapi_types[names[key]], f"{where}.{key}")
    try:
        model(**{names[key]: one for key, one in value.items() if key in names})
    except ValueError as error:
        yield f"{where}: {error}"


KINDS = {
    "v1 ConfigMap": "V1ConfigMap",
    "v1 PersistentVolumeClaim": "V1PersistentVolumeClaim",
    "v1 Service": "V1Service",
    "apps/v1 Deployment": "V1Deployment",
    "policy/v1 PodDisruptionBudget": "V1PodDisruptionBudget",
    "networking.k8s.io/v1 NetworkPolicy": "V1NetworkPolicy",
}


def test_manifests_fit_the_types_of_kubernetes() -> None:
    lines = [
        line
        for one in _manifests()
        for line in problems(
            one, KINDS[f"{one['apiVersion']} {one['kind']}"], f"{one['kind']} {one['metadata']['name']}"
        )
    ]
    assert not lines, "\n".join(lines)


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ({"replica": 2}, "V1DeploymentSpec has no 'replica'"),
        ({"replicas": "2"}, "'2' is no int"),
        ({"replicas": 2}, "must not be `None`"),
        ({"selector": {"matchLabels": {"app": 1}}}, "1 is no str"),
    ],
)
def test_a_manifest_that_does_not_fit_is_found(value: dict[str, Any], line: str) -> None:
    assert any(line in one for one in problems({"spec": value}, "V1Deployment", "here"))


def test_parts_of_the_manifests_fit_each_other() -> None:
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for one in _manifests():
        by_kind.setdefault(one["kind"], []).append(one)
    (config,), (claim,) = by_kind["ConfigMap"], by_kind["PersistentVolumeClaim"]
    assert len(by_kind["Deployment"]) == 2
    for deployment in by_kind["Deployment"]:
        pod, labels = deployment["spec"]["template"]["spec"], deployment["spec"]["template"]["metadata"]["labels"]
        (container,) = pod["containers"]
        assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()
        mounts = {one["name"]: one["mountPath"] for one in container["volumeMounts"]}
        volumes = {one["name"]: one for one in pod["volumes"]}
        assert mounts.keys() == volumes.keys()
        assert volumes["config"]["configMap"]["name"] == config["metadata"]["name"]
        assert volumes["models"]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
        for flag in ("model_config_file", "monitoring_config_file"):
            folder, _, name = _flags(container["args"])[flag].rpartition("/")
            assert folder == mounts["config"] and name in config["data"]
        ports = {one["name"]: one["containerPort"] for one in container["ports"]}
        assert (str(ports["grpc"]), str(ports["http"])) == tuple(
            _flags(container["args"])[flag] for flag in ("port", "rest_api_port")
        )
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert container[probe]["grpc"] == {"port": ports["grpc"], "service": "PredictionService"}
        pause = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
        assert pause < pod["terminationGracePeriodSeconds"]
        name = deployment["metadata"]["name"]
        for kind, path in (("Service", ("selector",)), ("PodDisruptionBudget", ("selector", "matchLabels"))):
            (other,) = [one for one in by_kind[kind] if one["metadata"]["name"] == name]
            selector = other["spec"]
            for key in path:
                selector = selector[key]
            assert selector.items() <= labels.items()
    assert config["data"] == {
        "models-retrieval.config": (DEPLOY / "config" / "models-127.0.0.1-8500.config").read_text(),
        "models-rankers.config": (DEPLOY / "config" / "models-127.0.0.1-8600.config").read_text(),
        "monitoring.config": (DEPLOY / "config" / "monitoring.config").read_text(),
    }


def test_compose_fits_its_schema_and_names_files_that_exist() -> None:
    compose = _yaml("compose.yaml")
    schema = json.loads(Path(__file__).with_name("compose-spec.json").read_text())
    validator = jsonschema.Draft7Validator(schema)
    assert [error.message for error in validator.iter_errors(compose)] == []
    broken = compose | {"services": {"a": {"image": "b", "comand": ["c"]}}}
    assert "comand" in next(iter(validator.iter_errors(broken))).message
    for service in compose["services"].values():
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            assert source.startswith("${MODELS") or (DEPLOY / source).exists(), volume


def _flags(words: list[str]) -> dict[str, str]:
    flags = dict(word.removeprefix("--").split("=", 1) for word in words)
    assert len(flags) == len(words)
    return flags


def test_flags_exist_are_the_same_everywhere_and_have_a_reason() -> None:
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    sets = [_flags(json.loads(dockerfile.split("CMD ")[1].replace("\\\n", "")))]
    sets += [_flags(_yaml("compose.yaml")["services"][name]["command"]) for name in ("retrieval", "rankers")]
    sets += [
        _flags(one["spec"]["template"]["spec"]["containers"][0]["args"])
        for one in _manifests()
        if one["kind"] == "Deployment"
    ]
    assert sets[0].keys() <= FLAGS
    for flags in sets:
        # Only the file of models differs.
        assert flags | {"model_config_file": ""} == sets[0] | {"model_config_file": ""}
    page = (ROOT / "docs" / "deploy.md").read_text()
    reasons = re.findall(r"^\| `--(\w+)=([^`]*)` \| .+ \|$", page, re.MULTILINE)
    assert dict(reasons) == {name: value for name, value in sets[0].items() if name not in ("port", "rest_api_port")}
    versions = set(re.findall(r"tensorflow/serving:([\d.]+)", dockerfile + (DEPLOY / "compose.yaml").read_text()))
    versions |= {one["spec"]["template"]["spec"]["containers"][0]["image"].split(":")[1] for one in _manifests()
                 if one["kind"] == "Deployment"}  # fmt: skip
    assert versions == {"2.16.1"} and "ARG VERSION=2.16.1" in dockerfile


def test_the_servers_read_their_configuration() -> None:
    (scrape,) = _yaml("prometheus/prometheus.yaml")["scrape_configs"]
    assert read_metrics_path(DEPLOY / "config" / "monitoring.config") == scrape["metrics_path"]
    texts = models_configs(load_cascade(DEPLOY / "cascade.yaml"))
    files = {path.name: path.read_text() for path in (DEPLOY / "config").glob("models-*.config")}
    assert files == {f"models-{server.replace(':', '-')}.config": text for server, text in texts.items()}


def violations(expression: str) -> list[str]:
    """Metrics of an expression that no server exports, and labels that they do not have."""
    found = []
    for name, selector in re.findall(r"(?<![\w$\"])(:[\w:]+|up)\b(?:\{([^}]*)\})?", expression):
        if name not in METRICS:
            found.append(f"metric {name}")
            continue
        labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector)) - OF_SCRAPE
        found += [f"label {label} of {name}" for label in sorted(labels - METRICS[name])]
    groups = {label for text in re.findall(r"\bby \(([^)]*)\)", expression) for label in re.split(r",\s*", text)}
    known = OF_SCRAPE.union(*(METRICS[name] for name in METRICS if name in expression))
    found += [f"group {label}" for label in sorted(groups - known)]
    if expression.count("(") != expression.count(")"):
        found.append("parentheses")
    return found


def test_the_dashboard_and_the_alerts_read_metrics_that_servers_export() -> None:
    dashboard = json.loads((DEPLOY / "grafana" / "dashboard.json").read_text())
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) > 5
    expressions = [target["expr"] for panel in panels for target in panel["targets"]]
    rules = [rule for group in _yaml("prometheus/alerts.yaml")["groups"] for rule in group["rules"]]
    required = {"alert", "expr", "labels", "annotations"}
    assert all(required <= rule.keys() <= required | {"for"} for rule in rules)
    expressions += [rule["expr"] for rule in rules]
    assert [(one, wrong) for one in expressions if (wrong := violations(one))] == []
    (source,) = _yaml("grafana/provisioning/datasources/prometheus.yaml")["datasources"]
    assert {panel["datasource"]["type"] for panel in panels} == {source["type"]}
    assert {variable["name"] for variable in dashboard["templating"]["list"]} == set(
        re.findall(r"\$\{?(?!__)(\w+)", json.dumps(panels))
    )


@pytest.mark.parametrize(
    "expression",
    [
        "rate(:tensorflow:serving:request_counts[5m])",
        ':tensorflow:serving:request_count{model="m"}',
        "sum by (model) (:tensorflow:serving:request_count)",
        "sum(up",
    ],
)
def test_an_expression_that_reads_nothing_is_found(expression: str) -> None:
    assert violations(expression)


def test_prometheus_scrapes_the_servers_of_compose() -> None:
    config, services = _yaml("prometheus/prometheus.yaml"), _yaml("compose.yaml")["services"]
    (scrape,) = config["scrape_configs"]
    (targets,) = scrape["static_configs"]
    assert {target.partition(":")[0] for target in targets["targets"]} == {"retrieval", "rankers"} <= services.keys()
    assert config["rule_files"] == ["alerts.yaml"] and (DEPLOY / "prometheus" / "alerts.yaml").is_file()
