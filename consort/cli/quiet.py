"""Keep other people's logs and warnings out of the user's terminal, unless asked for."""

import logging
import os
import sys
import warnings

from transforms.packages import PACKAGES

OURS = (*PACKAGES, "consort")


def be_quiet() -> None:
    """Our warnings, and nothing of the libraries below us. CONSORT_DEBUG=1 shows everything."""
    if os.environ.get("CONSORT_DEBUG"):
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    # Child processes (Beam workers, servers) read this one.
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    warnings.simplefilter("ignore")
    # TensorFlow's functions complain when the interpreter takes them down in the wrong order.
    sys.unraisablehook = lambda _: None
    # A handler in place keeps TensorFlow, absl and Beam from adding theirs; the filter sits on it, not
    # on levels, because TFX and Beam set levels of their own while they run.
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
    handler.addFilter(worth_telling)
    logging.getLogger().handlers = [handler]


def worth_telling(record: logging.LogRecord) -> bool:
    """True for our own warnings and errors; what a library could not do reaches us as an exception anyway."""
    return record.levelno >= logging.WARNING and record.name.partition(".")[0] in OURS
