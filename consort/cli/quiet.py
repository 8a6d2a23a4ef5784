"""Keep other people's logs and warnings out of the user's terminal, unless asked for."""

import logging
import os
import warnings

_NOISY = ("absl", "tensorflow", "apache_beam", "root", "google", "urllib3")


def be_quiet() -> None:
    """Errors only from the libraries below us. CONSORT_DEBUG=1 shows everything."""
    if os.environ.get("CONSORT_DEBUG"):
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    # Child processes (Beam workers, servers) read this one.
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    warnings.simplefilter("ignore")
    # TFX and Beam set levels of their own while they run; this holds whatever they set.
    logging.disable(logging.WARNING)
    for name in _NOISY:
        logging.getLogger(name if name != "root" else None).setLevel(logging.ERROR)
