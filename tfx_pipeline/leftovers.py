"""What earlier runs of a pipeline left behind: folders of executions that failed or were killed."""

import shutil
from pathlib import Path

from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2

_Execution = metadata_store_pb2.Execution
_WHOLE = (_Execution.COMPLETE, _Execution.CACHED)


def remove_failed_executions(artifacts: Path, metadata_file: Path) -> int:
    """Removes the artifact folders of executions that did not end well; call it while no run is under way.

    No later run reads them: the metadata knows only whole artifacts. Checkpoints lie elsewhere and stay.

    Args:
      artifacts: root of the artifacts: `<node>/<output>/<execution>`, as TFX lays them out.
      metadata_file: the metadata's SQLite file; missing: there was no run.

    Returns:
      Number of folders that were removed.
    """
    if not metadata_file.is_file():
        return 0
    config = metadata_store_pb2.ConnectionConfig()
    config.sqlite.filename_uri = str(metadata_file)
    executions = metadata_store.MetadataStore(config).get_executions()
    unfinished = {str(execution.id) for execution in executions if execution.last_known_state not in _WHOLE}
    folders = [*artifacts.glob("*/*/*"), *artifacts.glob("*/.system/*/*")]
    doomed = [folder for folder in folders if folder.name in unfinished and folder.is_dir()]
    for folder in doomed:
        shutil.rmtree(folder, ignore_errors=True)
    return len(doomed)
