"""`consort` and `python -m consort`."""

import os
import sys
import traceback
from typing import NoReturn

from transforms.errors import ConsortError

_INTERRUPTED = 130
_NO_ROOM = ("No space left on device", "disk is full", "File too large", "Disk quota exceeded")


def main() -> None:
    """Runs the command line; every outcome becomes an exit code.

    0 done; 1 failed while working; 2 wrong input, nothing written; 3 an optional part is missing; 4 a gate said no.
    """
    from consort.cli.app import app
    from consort.cli.quiet import be_quiet

    be_quiet()
    try:
        app()
    except ConsortError as error:
        print(f"consort: {error}", file=sys.stderr)
        _advise(error)
        _end(error.exit_code)
    except SystemExit as stopped:
        # Typer turns an interrupt into an exit without a word.
        if stopped.code == _INTERRUPTED:
            _tell_interrupted()
        raise
    except KeyboardInterrupt:
        _tell_interrupted()
        _end(_INTERRUPTED)
    except Exception as error:
        if os.environ.get("CONSORT_DEBUG"):
            traceback.print_exc()
        print(f"consort: failed: {type(error).__name__}: {error}", file=sys.stderr)
        _advise(error)
        print("consort: set CONSORT_DEBUG=1 for the traceback", file=sys.stderr)
        _end(1)


def _tell_interrupted() -> None:
    print(
        "\nconsort: interrupted; the same command goes on from its last checkpoint, or begins anew if it has none",
        file=sys.stderr,
    )


def _end(code: int) -> NoReturn:
    distributed = sys.modules.get("runs.workers")
    if distributed is not None and distributed.is_connected():
        # All is said and closed; TensorFlow would wait for minutes for processes that are gone.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _advise(error: Exception) -> None:
    # TensorFlow and Beam raise errors of their own kinds, which only tell by their text.
    if any(text in str(error) for text in _NO_ROOM):
        fix = "free space where it writes, and in TMPDIR; then start the same command again"
        print(f"consort: received no room to write; expected enough for the result. Fix: {fix}", file=sys.stderr)


if __name__ == "__main__":
    main()
