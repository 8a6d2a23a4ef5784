"""Models that Keras saves as one `.keras` file, and as nothing else."""

import os
from typing import Any

import tf_keras as keras


class KerasFileModel(keras.Model):
    """A model that `save` writes as a `.keras` file, which names its classes, so that any process can load it.

    Keras' other formats are refused: a SavedModel of Keras is read back by classes that must have been imported, and
    by shapes that lists of any length have not.
    """

    def save(
        self, filepath: str | os.PathLike[str], overwrite: bool = True, save_format: str | None = None, **kwargs: Any
    ) -> None:
        """Writes the model, its optimizer included.

        Args:
          filepath: ends with `.keras`.
          overwrite: whether a file there is replaced.
          save_format: `keras`, or None.
          **kwargs: as of Keras.

        Raises:
          ValueError: another format.
        """
        path = os.fspath(filepath)
        if save_format not in (None, "keras") or not path.endswith(".keras"):
            raise ValueError(
                f"save to {path!r}, save_format {save_format!r}; expected a path that ends with '.keras', as other "
                "formats of Keras cannot be loaded again; add it, or for a server use serving.export.export_model"
            )
        super().save(path, overwrite=overwrite, save_format="keras", **kwargs)

    def build_from_config(self, config: dict[str, Any]) -> None:
        """Makes all variables, of a model that is being loaded; shapes of a batch have no part in it."""
        self.build_variables()
        self.built = True

    def build_variables(self) -> None:
        """Makes all variables, as the first batch would."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it is built")
