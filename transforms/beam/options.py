"""Beam's options, checked before anything is written: Beam itself drops an option that it does not know."""

import contextlib
import io
from collections.abc import Sequence

from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.runners.runner import create_runner

from transforms.errors import InputError
from transforms.import_path import nearest

LOCAL_RUNNERS = ("FnApiRunner", "BundleBasedDirectRunner", "DirectRunner", "SwitchingDirectRunner")
"""Runners that have no options beyond Beam's own; job servers of the others may add theirs."""


def pipeline_options(beam_args: Sequence[str]) -> PipelineOptions:
    """Beam's options.

    Raises:
      InputError: no such runner, an option that a local runner does not know, or a value of the wrong type.
    """
    options = PipelineOptions(list(beam_args))
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            known, given = options.get_all_options(), options.get_all_options(retain_unknown_options=True)
    except SystemExit as error:
        last = complaint.getvalue().strip().splitlines()[-1:]
        raise InputError("Beam options", " ".join(beam_args), "what Beam can read", " ".join(last)) from error
    runner = options.view_as(StandardOptions).runner
    try:
        if runner is not None:
            create_runner(runner)
    except ValueError as error:
        raise InputError("Beam options", f"--runner={runner}", "a runner of Beam's", str(error)) from error
    unknown = sorted(set(given) - set(known))
    if unknown and (runner is None or runner in LOCAL_RUNNERS):
        fix = nearest(f"--{unknown[0]}", [f"--{name}" for name in known])
        fix = fix if fix.startswith("did") else "leave it out"
        raise InputError("Beam options", f"--{unknown[0]}", f"an option that {runner or 'Beam'} knows", fix)
    return options
