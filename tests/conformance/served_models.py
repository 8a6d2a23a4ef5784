"""The models of the conformance suite, and the configuration with which TensorFlow Serving, too, serves them.

`python -m tests.conformance.served_models FOLDER` writes them and says how to start TensorFlow Serving and the tests.
"""

import sys
from pathlib import Path

from tests.serving import toy_models

MODELS = {
    "default": toy_models.half_plus_two,
    "three": toy_models.half_plus_three,
    "signatures": toy_models.two_signatures,
    "variables": toy_models.three_two_x,
    "keras": toy_models.keras_identity,
    "counter": toy_models.counter,
    "defaults": toy_models.with_default,
    "colours": toy_models.colours,
    "odds": toy_models.odds_and_ends,
    "echo": toy_models.echo,
    "sets": toy_models.set_scorer,
}
LABELS = {"A": 123, "B": 124, "gone": 7}
"""Of the model `pair`, whose versions are 123 and 124."""
MODELS_CONFIG, MONITORING_CONFIG = "models.config", "monitoring.config"
FLAGS = "--allow_version_labels_for_unavailable_models=true --enable_grpc_healthcheck_service=true"


def write(root: Path) -> Path:
    """Writes the models and both configuration files into an empty folder, and returns it."""
    for name, build in MODELS.items():
        build(root / name / "00000123")
    toy_models.half_plus_two(root / "pair" / "123")
    toy_models.half_plus_three(root / "pair" / "124")
    (root / MODELS_CONFIG).write_text(f"model_config_list {{\n{''.join(entries(root).values())}}}\n")
    (root / MONITORING_CONFIG).write_text("prometheus_config { enable: true }\n")
    return root


def entries(root: Path) -> dict[str, str]:
    """The models' entries of a model configuration by name."""
    labels = "".join(f" version_labels {{ key: '{label}' value: {version} }}" for label, version in LABELS.items())
    texts = {name: entry(name, root / name) for name in MODELS}
    return texts | {"pair": entry("pair", root / "pair", f" model_version_policy {{ all {{}} }}{labels}")}


def entry(name: str, base: Path | str, more: str = "") -> str:
    """One entry of a model configuration."""
    return f"  config {{ name: '{name}' base_path: '{base}' model_platform: 'tensorflow'{more} }}\n"


if __name__ == "__main__":
    folder = write(Path(sys.argv[1]).resolve())
    print(
        f"tensorflow_model_server --port=8500 --rest_api_port=8501 --model_config_file={folder / MODELS_CONFIG} "
        f"--monitoring_config_file={folder / MONITORING_CONFIG} {FLAGS}\n"
        f"pytest tests/conformance --target 127.0.0.1:8500 --target-http 127.0.0.1:8501 --target-models {folder}"
    )
