"""`consort` and `python -m consort`."""

import os
import sys
import traceback

from transforms.errors import ConsortError


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
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("consort: interrupted; the same command continues or starts again", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        if os.environ.get("CONSORT_DEBUG"):
            traceback.print_exc()
        print(f"consort: failed: {type(error).__name__}: {error}", file=sys.stderr)
        print("consort: set CONSORT_DEBUG=1 for the traceback", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
