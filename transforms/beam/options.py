"""Beam's options, checked before anything is written: Beam itself drops an option that it does not know."""

import contextlib
import io
import os
import tempfile
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence

from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.runners.runner import create_runner

from transforms.errors import InputError
from transforms.import_path import nearest

LOCAL_RUNNERS = ("FnApiRunner", "BundleBasedDirectRunner", "DirectRunner", "SwitchingDirectRunner")
"""Runners that have no options beyond Beam's own; job servers of the others may add theirs."""


class PartOptions(PipelineOptions):
    """Consort's own options: where rows of an import wait between its steps, and how long a cluster is waited for."""

    @classmethod
    def _add_argparse_args(cls, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--parts_folder",
            help="folder that all workers share, with room for a few copies of the log; default: a temporary one with "
            "local runners, and the shuffle of other runners",
        )
        parser.add_argument(
            "--answer_seconds",
            type=int,
            default=55,
            help="seconds that a cluster has for the first answer of a worker, before anything is written",
        )


def shared_path(options: PipelineOptions, path: str | os.PathLike[str]) -> str:
    """A path as workers of a runner read it: absolute on a cluster, whose workers have another working folder.

    Args:
      options: of the pipeline.
      path: of a file or folder that launcher and workers share.
    """
    local = options.view_as(StandardOptions).runner in (None, *LOCAL_RUNNERS)
    return os.fspath(path) if local else os.path.abspath(path)


@contextlib.contextmanager
def local_parts_folder(options: PipelineOptions, folder: str) -> Iterator[str | None]:
    """Lets rows wait in a temporary folder, not in memory, if the runner is a local one and no folder is chosen.

    Gives the folder; None: there is no temporary one.

    Args:
      options: of the pipeline.
      folder: in which the temporary one is made.
    """
    parts, runner = options.view_as(PartOptions), options.view_as(StandardOptions).runner
    if parts.parts_folder:
        parts.parts_folder = shared_path(options, parts.parts_folder)
    if parts.parts_folder is not None or runner not in (None, *LOCAL_RUNNERS):
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="parts-", dir=folder) as temporary:
        parts.parts_folder = temporary
        yield temporary


def pipeline_options(beam_args: Sequence[str]) -> PipelineOptions:
    """Beam's options.

    Raises:
      InputError: no such runner, an option that a local runner does not know, or a value of the wrong type.
    """
    options = PipelineOptions(list(beam_args))
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            known, received = options.get_all_options(), options.get_all_options(retain_unknown_options=True)
    except SystemExit as error:
        last = complaint.getvalue().strip().splitlines()[-1:]
        raise InputError("Beam options", " ".join(beam_args), "what Beam can read", " ".join(last)) from error
    runner = options.view_as(StandardOptions).runner
    try:
        if runner is not None:
            create_runner(runner)
    except ValueError as error:
        raise InputError("Beam options", f"--runner={runner}", "a runner of Beam's", str(error)) from error
    unknown = sorted(set(received) - set(known))
    if unknown and (runner is None or runner in LOCAL_RUNNERS):
        fix = nearest(f"--{unknown[0]}", [f"--{name}" for name in known])
        fix = fix if fix.startswith("did") else "leave it out"
        raise InputError("Beam options", f"--{unknown[0]}", f"an option that {runner or 'Beam'} knows", fix)
    return options
