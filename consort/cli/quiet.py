"""Keep other people's logs and warnings out of the user's terminal, unless asked for."""

import logging
import os
import sys
import warnings

_NOISY = ("absl", "tensorflow", "root", "google", "urllib3")


def be_quiet() -> None:
    """Errors only from the libraries below us. CONSORT_DEBUG=1 shows everything."""
    if os.environ.get("CONSORT_DEBUG"):
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    # Child processes (Beam workers, servers) read this one.
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    warnings.simplefilter("ignore")
    # TensorFlow's functions complain when the interpreter takes them down in the wrong order.
    sys.unraisablehook = lambda _: None
    # TensorFlow's destructors fail when the interpreter ends before them.
    sys.unraisablehook = lambda unraisable: None
    # TFX and Beam set levels of their own while they run; this holds whatever they set.
    logging.disable(logging.WARNING)
    # Beam logs the traceback of whatever it then raises.
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL)
    for name in _NOISY:
        logging.getLogger(name if name != "root" else None).setLevel(logging.ERROR)
