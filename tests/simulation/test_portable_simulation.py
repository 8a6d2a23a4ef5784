"""The same seed gives the same bits, whatever instructions the processor has and the libraries choose."""

import ast
import json
import os
import subprocess
import sys

import pytest
from numpy.__config__ import show

from simulation.cascade_log import simulate
from simulation.parameters import World
from tests.helpers.source_tree import ROOT, modules

GOLDEN = {
    "cascade": "bf61a24acb9be40e3f2d20e7dffec7b403658ecf139b11cd47505d5b1bb4e042",
    "click_log": "6ea570ad2e816441d7fed4caa0d7219d8a9e0583cce399332f58aa09906adc95",
    "ratings": "d6042a7f342e925c8090f68e1ed35811b174a85dc623fd0bc46948e24febae7d",
}
GOLDEN_DATASET = "6134ad4acb5cf749df99b5505a3acb191ca2f02f361ae01ea8f728f00cd2f665"
# `numpy.show_config`, whose stub knows no mode and no result.
NUMPY_FEATURES = " ".join(show(mode="dicts")["SIMD Extensions"].get("found", ()))
PROCESSORS = {
    "as it is": {},
    "NumPy without vector instructions": {"NPY_DISABLE_CPU_FEATURES": NUMPY_FEATURES},
    "OpenBLAS for Prescott": {"OPENBLAS_CORETYPE": "Prescott"},
    "OpenBLAS for Haswell": {"OPENBLAS_CORETYPE": "Haswell"},
    "C library without AVX2 and FMA": {
        "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA,-FMA4,-AVX,-AVX512F,-AVX2_Usable,-FMA_Usable",
        "OPENBLAS_CORETYPE": "Prescott",
        "NPY_DISABLE_CPU_FEATURES": NUMPY_FEATURES,
    },
}
SIMULATING = ("criteo_like", "ratings_matrix.read", "portable_math", "portable_random")
LIBRARY_CALLS = frozenset(
    """exp exp2 expm1 log log2 log10 log1p logaddexp sin cos tan arctan tanh power float_power cbrt hypot matmul dot
    vdot inner outer einsum tensordot convolve argpartition standard_normal normal multivariate_normal gumbel poisson
    exponential standard_exponential gamma standard_gamma beta binomial zipf geometric lognormal dirichlet logistic
    laplace multinomial norm nanmean nanstd var std mean""".split()
)


@pytest.mark.parametrize("processor", PROCESSORS)
def test_worlds_draw_the_golden_numbers_on(processor: str) -> None:
    environment = {**os.environ, **PROCESSORS[processor], "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.helpers.simulated_numbers"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=True)
    assert json.loads(done.stdout) == GOLDEN


def test_a_written_log_has_the_golden_hash(tmp_path) -> None:
    world = World(users=60, items=150, pool_size=60, candidates=24, min_candidates=16, ranked_items=12, exposed_items=6)
    assert simulate(tmp_path / "log", world, 300, seed=11).sha256 == GOLDEN_DATASET


def test_simulating_modules_call_nothing_whose_last_bits_depend_on_the_processor() -> None:
    calls = [
        f"{module.path}:{node.lineno} {text}"
        for module in modules()
        if module.name.startswith("simulation.") or module.name.endswith(SIMULATING)
        for node, text in _library_arithmetic(module.tree)
    ]
    assert calls == []


def test_a_call_of_the_library_is_seen() -> None:
    text = "np.exp(x)\nrng.normal(size=3)\na @ b\nx ** y\nx **= 0.5\nnp.linalg.norm(x)\n2.0**-54\nexp(x)\nx.mean()\n"
    assert [node.lineno for node, _ in _library_arithmetic(ast.parse(text))] == [1, 2, 3, 4, 5, 6, 9]


def _library_arithmetic(tree: ast.AST):
    for node in sorted((n for n in ast.walk(tree) if hasattr(n, "lineno")), key=lambda n: n.lineno):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LIBRARY_CALLS:
            yield node, node.func.attr
        elif isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.MatMult):
            yield node, "@"
        elif isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Pow):
            base = node.left if isinstance(node, ast.BinOp) else node.target
            if not (isinstance(base, ast.Constant | ast.UnaryOp) or _is_name_of_constant(base)):
                yield node, "**"


def _is_name_of_constant(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id.strip("_").isupper()
