"""One Keras in the process: tf_keras, by one spelling, and a clear word when TensorFlow was there first."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.source_tree import ROOMS, ROOT, Module, imports, module_of, modules, test_modules

# `tf.compat.v1.keras` and `tf.keras` are the same second spelling.
TENSORFLOW_NAMES = {"tf", "tensorflow"}


def offences(module: Module) -> list[str]:
    """Uses of another Keras, of TensorFlow's private modules and of whole-model pickles."""
    found = [(imported.line, imported.name) for imported in imports(module) if _forbidden(imported.name)]
    found += [(node.lineno, ast.unparse(node)) for node in _attributes(module)]
    return [f"{module.path}:{line}: {name}" for line, name in found]


def test_our_code_knows_one_keras() -> None:
    # This file alone must name what it forbids, in its examples.
    checked = [*modules(), *(module for module in test_modules() if module.path.name != Path(__file__).name)]
    found = [offence for module in checked for offence in offences(module)]
    assert not found, "use `import tf_keras as keras`:\n" + "\n".join(found)


@pytest.mark.parametrize(
    "text",
    [
        "import keras",
        "from keras import layers",
        "from keras.layers import Dense",
        "from tensorflow import keras",
        "from tensorflow.keras import layers",
        "from tensorflow.python.framework import ops",
        "import tensorflow.python.keras",
        "import tensorflow as tf\nlayer = tf.keras.layers.Dense(1)",
        "import tensorflow as tf\ntf.compat.v1.keras.backend.clear_session()",
        "import tensorflow as tf\ntf.python.framework",
        "import tf_keras as keras\nkeras.models.load_model('x')",
        "from tf_keras.models import load_model",
    ],
)
def test_another_keras_is_found(text: str) -> None:
    assert offences(module_of(Path("models/example.py"), text))


@pytest.mark.parametrize(
    "text",
    [
        "import tf_keras as keras\nkeras.layers.Dense(1)",
        "import keras_tuner",
        "from tf_keras import layers",
        "import tensorflow as tf\ntf.saved_model.load('x')",
    ],
)
def test_tf_keras_passes(text: str) -> None:
    assert offences(module_of(Path("models/example.py"), text)) == []


def test_a_package_imported_first_makes_tf_keras_the_keras_of_tensorflow() -> None:
    done = _python("import models, tensorflow as tf, tf_keras; print(tf.keras.layers.Layer is tf_keras.layers.Layer)")
    assert done.stdout.split() == ["True"], done.stderr


@pytest.mark.parametrize("package", ROOMS)
def test_a_package_refuses_a_process_that_has_bound_keras_3(package: str) -> None:
    # What TensorFlow looks like once it has bound Keras 3; the next test has the real one.
    bound = "import sys, types; tf = sys.modules['tensorflow'] = types.ModuleType('tensorflow')\n"
    keras = "tf.keras = types.SimpleNamespace(__version__='3.15.1')\n"
    done = _python(f"{bound}{keras}import {package}")
    assert done.returncode != 0
    assert "Consort needs tf_keras (Keras 2)" in done.stderr.strip().splitlines()[-1]


def test_a_package_refuses_after_the_real_tensorflow_with_keras_3() -> None:
    done = _python("import tensorflow as tf; print(tf.keras.__version__)\nimport transforms")
    assert done.stdout.startswith("3."), done.stderr
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: TensorFlow was imported with Keras 3.")
    assert "TF_USE_LEGACY_KERAS=1" in last


def _python(code: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "TF_USE_LEGACY_KERAS"}
    environment |= {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def _forbidden(name: str) -> bool:
    below = ("keras", "tensorflow.keras", "tensorflow.python")
    return any(name == package or name.startswith(f"{package}.") for package in below) or name.endswith(".load_model")


def _attributes(module: Module) -> Iterator[ast.Attribute]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute):
            first, *rest = ast.unparse(node).split(".")
            if node.attr == "load_model" or (first in TENSORFLOW_NAMES and rest[-1] in {"keras", "python"}):
                yield node
