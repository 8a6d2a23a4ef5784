"""The product's packages and where they stand: at the top in a checkout, below `consort` in the wheel (setup.py)."""

PACKAGES = (
    "transforms",
    "simulation",
    "evaluation",
    "models",
    "serving",
    "runs",
    "tfx_pipeline",
    "benchmarks",
    "experiments",
)
"""All but `consort` itself."""

PREFIX = __name__.partition("transforms")[0]
"""`""` in a checkout, `"consort."` in the wheel."""
