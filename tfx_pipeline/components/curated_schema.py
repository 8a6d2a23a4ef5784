"""Give the schema that follows from a FeatureSet to the nodes that check data by it."""

import os

from tfx.dsl.component.experimental.annotations import OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.io import fileio
from tfx.types import standard_artifacts

SCHEMA_FILE = "schema.pbtxt"
"""Name of the file in the artifact, as TFX's ImportSchemaGen writes it."""


@component
def CuratedSchema(  # noqa: N802, a component is a class to its users
    schema: OutputArtifact[standard_artifacts.Schema], text: Parameter[str]
) -> None:
    """Writes a schema that is known before the run, as ImportSchemaGen does from a file.

    The text is a parameter, so that the pipeline needs no file beside it, wherever it runs.

    Args:
      schema: gets `schema.pbtxt`.
      text: the schema, a text-format `Schema` proto.
    """
    fileio.makedirs(schema.uri)
    with fileio.open(os.path.join(schema.uri, SCHEMA_FILE), "w") as file:
        file.write(text)
