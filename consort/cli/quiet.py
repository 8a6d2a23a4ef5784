"""Keeps the logs and warnings of libraries out of the terminal, unless CONSORT_DEBUG is set."""

import logging
import os
import sys
import warnings

from transforms.packages import PACKAGES

CONSORT_PACKAGES = (*PACKAGES, "consort")


def be_quiet() -> None:
    """Shows Consort's warnings and hides those of the libraries. CONSORT_DEBUG=1 shows everything."""
    if os.environ.get("CONSORT_DEBUG"):
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    # Child processes (Beam workers, servers) read this variable.
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    warnings.simplefilter("ignore")
    # TensorFlow's functions raise at shutdown when the interpreter deletes them in the wrong order.
    sys.unraisablehook = lambda _: None
    # An existing handler keeps TensorFlow, absl and Beam from adding theirs. The handler is filtered, rather than the
    # levels set, because TFX and Beam change levels while they run.
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
    handler.addFilter(is_consort_warning)
    logging.getLogger().handlers = [handler]


def is_consort_warning(record: logging.LogRecord) -> bool:
    """Returns True for Consort's warnings and errors; a failure in a library arrives as an exception anyway."""
    return record.levelno >= logging.WARNING and record.name.partition(".")[0] in CONSORT_PACKAGES
