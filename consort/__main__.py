"""`consort` and `python -m consort`."""

import os
import sys
import traceback
from typing import NoReturn

from transforms.errors import ConsortError
from transforms.progress import as_named, enabled

_INTERRUPTED = 130
_DISK_FULL = ("No space left on device", "disk is full", "File too large", "Disk quota exceeded")


def main() -> None:
    """Runs the command line, and maps every outcome to an exit code.

    0: success; 1: failed while working; 2: invalid input, nothing written; 3: an optional package is missing;
    4: rejected by a validation gate.
    """
    from consort.cli.app import app
    from consort.cli.quiet import be_quiet

    be_quiet()
    try:
        with enabled():
            app()
    except ConsortError as error:
        print(as_named(f"consort: {error}"), file=sys.stderr)
        _advise(error)
        _end(error.exit_code)
    except SystemExit as stopped:
        # Typer turns an interrupt into an exit without a message.
        if stopped.code == _INTERRUPTED:
            _report_interrupt()
        raise
    except KeyboardInterrupt:
        _report_interrupt()
        _end(_INTERRUPTED)
    except Exception as error:
        if os.environ.get("CONSORT_DEBUG"):
            traceback.print_exc()
        print(as_named(f"consort: failed: {type(error).__name__}: {error}"), file=sys.stderr)
        _advise(error)
        print("consort: set CONSORT_DEBUG=1 for the traceback", file=sys.stderr)
        _end(1)


def _report_interrupt() -> None:
    print(
        "\nconsort: interrupted; the same command resumes from the last checkpoint, or starts again if there is none",
        file=sys.stderr,
    )


def _end(code: int) -> NoReturn:
    distributed = sys.modules.get("runs.workers")
    if distributed is not None and distributed.is_connected():
        # Everything is written and closed; TensorFlow would wait minutes for processes that have ended.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _advise(error: Exception) -> None:
    # TensorFlow and Beam raise their own error types; only the text tells the cause.
    if any(text in str(error) for text in _DISK_FULL):
        fix = "free space in the output folder and in TMPDIR, then run the same command again"
        print(f"consort: the disk is full. Fix: {fix}", file=sys.stderr)


if __name__ == "__main__":
    main()
