"""TensorFlow Serving's configuration files: which models a server has, and where it shows its metrics."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf import text_format

from serving.protocol import ModelServerConfig, MonitoringConfig, ServingError
from serving.server.model_versions import Policy
from transforms.errors import InputError

PLATFORM = "tensorflow"
METRICS_PATH = "/monitoring/prometheus/metrics"
"""Where the metrics are if the monitoring configuration names no other path."""

_TENSORFLOW_TYPE = 1


@dataclass(frozen=True)
class ModelConfig:
    """One model of a server.

    Args:
      name: the name in requests.
      base: its base path, the directory of numbered versions.
      policy: which versions to serve.
      labels: version numbers by label.
    """

    name: str
    base: Path
    policy: Policy = "latest"
    labels: Mapping[str, int] = field(default_factory=dict)


def read_model_config(path: str | os.PathLike[str]) -> list[ModelConfig]:
    """Returns the models of a `--model_config_file`.

    Raises:
      InputError: no such file, no text of a ModelServerConfig, or a configuration that TensorFlow Serving refuses.
    """
    try:
        return models_of(_parse(path, ModelServerConfig()))
    except ServingError as error:
        fix = "correct the file; docs/serving.md shows one"
        raise InputError(str(path), error.details, "a configuration of models", fix) from None


def read_metrics_path(path: str | os.PathLike[str]) -> str | None:
    """Returns the HTTP path of the metrics in a `--monitoring_config_file`; None if it does not enable them.

    Raises:
      InputError: no such file, no text of a MonitoringConfig, or a path that does not begin with a slash.
    """
    prometheus = _parse(path, MonitoringConfig()).prometheus_config
    if not prometheus.enable:
        return None
    chosen = str(prometheus.path) or METRICS_PATH
    if not chosen.startswith("/"):
        raise InputError(str(path), f"path: {chosen!r}", "a path that begins with /", f"write path: '/{chosen}'")
    return chosen


def _parse(path: str | os.PathLike[str], message: Any) -> Any:
    name = message.DESCRIPTOR.full_name
    try:
        return text_format.Parse(Path(path).read_text(), message)
    except OSError as error:
        raise InputError(str(path), f"no readable file ({error})", f"a text of a {name}", "correct the path") from error
    except (text_format.ParseError, UnicodeDecodeError, RecursionError) as error:
        reason = f"Error parsing text-format {name}: {error}"
        raise InputError(str(path), reason, f"a text of a {name}", "correct that line") from error


def models_of(config: Any) -> list[ModelConfig]:
    """Returns the models of a ModelServerConfig.

    Raises:
      ServingError: INVALID_ARGUMENT, with TensorFlow Serving's message where it has one.
    """
    if config.WhichOneof("config") != "model_config_list":
        raise _invalid("no model_config_list")
    models: dict[str, ModelConfig] = {}
    for model in config.model_config_list.config:
        if not model.name:
            raise _invalid("a model without a name")
        if model.name in models:
            raise _invalid(f"Illegal to list model {model.name} multiple times in config list")
        if not os.path.isabs(model.base_path):
            received = f"got base_path()={model.base_path}"
            raise _invalid(f"Expected model {model.name} to have an absolute path or URI; {received}")
        _check_platform(model)
        models[model.name] = ModelConfig(
            model.name, _base(model), _policy(model.name, model.model_version_policy), dict(model.version_labels)
        )
    return list(models.values())


def _check_platform(model: Any) -> None:
    kind = model.model_type
    if kind and model.model_platform:
        both = "ModelServerConfig::model_type (deprecated) and ModelServerConfig::model_platform"
        raise _invalid(f"Illegal setting both {both}, model name is {model.name}")
    if not kind and not model.model_platform:
        neither = "ModelServerConfig::model_type (deprecated) nor ModelServerConfig::model_platform"
        raise _invalid(f"Illegal setting neither {neither}, model name is {model.name}")
    if (kind and kind != _TENSORFLOW_TYPE) or (model.model_platform and model.model_platform != PLATFORM):
        received = model.model_platform or f"model_type {kind}"
        raise _invalid(f"Illegal platform of model {model.name}: {received}; this server has only {PLATFORM!r}")


def _base(model: Any) -> Path:
    if "\0" in model.base_path:
        raise _invalid(f"the base path of model {model.name} has a zero byte")
    return Path(model.base_path)


def _policy(name: str, policy: Any) -> Policy:
    choice = policy.WhichOneof("policy_choice")
    if choice == "all":
        return "all"
    if choice == "specific":
        versions: Sequence[int] = tuple(policy.specific.versions)
        if not versions:
            raise _invalid(f"the policy `specific` of model {name} names no version")
        return versions
    # TensorFlow Serving takes 0 for its default, too.
    return int(policy.latest.num_versions) or 1


def _invalid(message: str) -> ServingError:
    return ServingError("INVALID_ARGUMENT", message)
