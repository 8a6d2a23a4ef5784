"""Credentials of a cloud runner, looked for before anything is sent: without them Beam waits for somebody to log in."""

import threading
from collections.abc import Sequence
from typing import Any

from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions, StandardOptions, TestOptions

from transforms.beam.options import pipeline_options
from transforms.errors import InputError

_CLOUD_RUNNERS = ("DataflowRunner",)
_CLOUD_PATHS = "gs://"
_TIMEOUT_S = 30.0


def check_credentials(beam_args: Sequence[str], timeout_s: float = _TIMEOUT_S) -> None:
    """Looks whether Google's default credentials are there and valid, if Beam is to use a cloud; else does nothing.

    Args:
      beam_args: Beam's options.
      timeout_s: seconds that the look may take.

    Raises:
      InputError: there are none, they are refused, or nobody answers in time.
    """
    options = pipeline_options(beam_args)
    what = _cloud_use(options)
    if what is None:
        return
    refusal: list[str] = ["no answer from the credentials' issuer"]
    # The look cannot be interrupted, so it is left behind where it takes too long.
    look = threading.Thread(target=_look, args=(options, refusal), daemon=True)
    look.start()
    look.join(timeout_s)
    if refusal:
        late = f" within {timeout_s:.0f} s" if look.is_alive() else ""
        fix = (
            "run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS to the key file of a "
            "service account; or leave the option out"
        )
        received = f"{what} without valid credentials ({refusal[0]}{late})"
        raise InputError("Beam options", received, "Google application default credentials", fix)


def _cloud_use(options: PipelineOptions) -> str | None:
    """The option that asks for a cloud; None if none does, or nothing is to be sent."""
    if options.view_as(TestOptions).dry_run:
        return None
    runner = str(options.view_as(StandardOptions).runner)
    if runner.rpartition(".")[2].lower() in {name.lower() for name in _CLOUD_RUNNERS} | {"dataflow"}:
        return f"--runner={runner}"
    values = options.get_all_options(drop_default=True)
    return next((f"--{name}={value}" for name, value in values.items() if str(value).startswith(_CLOUD_PATHS)), None)


def _look(options: PipelineOptions, refusal: list[str]) -> None:
    """Empties `refusal` if there are credentials, else leaves the reason in it."""
    import google.auth
    from google.auth.exceptions import GoogleAuthError
    from google.auth.transport.requests import Request

    try:
        # As Beam's runner asks for them, and then makes do without.
        credentials: Any
        credentials, _ = google.auth.default(scopes=options.view_as(GoogleCloudOptions).gcp_oauth_scopes)
        credentials.refresh(Request())
    except (GoogleAuthError, OSError, ValueError) as error:
        refusal[:] = [str(error).partition(". To set up")[0].strip()[:300] or type(error).__name__]
    else:
        refusal.clear()
