"""Models with declared options, which Keras saves as one `.keras` file."""

import inspect
import os
import sys
from collections.abc import Mapping
from typing import Any, ClassVar

import tensorflow as tf
import tf_keras as keras

from models.layers.lookup import out_of_range
from models.options import Options, parameters_of

_KERAS_ARGUMENTS = ("name", "dtype", "trainable", "dynamic", "autocast")
_SEARCHED_BATCHES = 10_000


class ConfiguredModel(keras.Model):
    """A model whose constructor takes declared options, and which `save` writes as a `.keras` file.

    A subclass names its declaration by annotating `options`; subclasses without one inherit it:

        class DCN(FieldModel):
            options: DCNOptions

    The file names its classes, so that any process can load it. Keras' other formats are refused: a SavedModel of
    Keras is read back by classes that must have been imported, and by shapes that lists of any length have not.

    Args:
      **options: of the declaration; or `name`, `dtype`, `trainable`, `dynamic` or `autocast` of a Keras model.

    Raises:
      ValueError: an unknown option, with the nearest known one, or a value out of its domain.
    """

    options_class: ClassVar[type[Options]] = Options
    """The declaration of the options."""
    options: Options
    """The values of this model."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        declared = inspect.get_annotations(cls).get("options")
        if isinstance(declared, str):  # from __future__ import annotations
            declared = vars(sys.modules[cls.__module__])[declared]
        if declared is not None:
            cls.options_class = declared
        parameters = parameters_of(cls, keras.Model).values()
        order = sorted(parameters, key=lambda item: (item.kind, item.default is not inspect.Parameter.empty))
        cls.__signature__ = inspect.Signature(order)

    def __init__(self, **options: Any):
        # Before Keras' own constructor, which asks subclasses for names that depend on the options.
        self.options = self.checked_options(options)
        super().__init__(**{name: value for name, value in options.items() if name in _KERAS_ARGUMENTS})

    @classmethod
    def checked_options(cls, options: dict[str, Any]) -> Any:
        """Returns the options of a constructor's keyword arguments, without those of Keras.

        Raises:
          ValueError: an unknown option, or a value out of its domain.
        """
        declared = {name: value for name, value in options.items() if name not in _KERAS_ARGUMENTS}
        return cls.options_class.checked(cls.__name__, declared)

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, **self.options.to_config()}

    def fit(self, x: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Trains as Keras does; the error of an id outside its vocabulary names the feature."""
        try:
            return super().fit(x, *args, **kwargs)
        except tf.errors.InvalidArgumentError as error:
            message = self._id_out_of_range(x)
            if not message:
                raise
            raise tf.errors.InvalidArgumentError(None, None, message) from error

    def _id_out_of_range(self, data: Any) -> str:
        """Returns what is wrong with the first such id, looked for in the batches again; "" if there is none."""
        embeddings = getattr(self, "embeddings", None)
        if embeddings is None or not isinstance(data, tf.data.Dataset | Mapping):
            return ""
        for batch in data.take(_SEARCHED_BATCHES) if isinstance(data, tf.data.Dataset) else (data,):
            features = keras.utils.unpack_x_y_sample_weight(batch)[0]
            message = out_of_range(embeddings.inputs, embeddings.table_sizes, features)
            if message:
                return message
        return ""

    def save(
        self, filepath: str | os.PathLike[str], overwrite: bool = True, save_format: str | None = None, **kwargs: Any
    ) -> None:
        """Writes the model, its optimizer included.

        Args:
          filepath: ends with `.keras`.
          overwrite: True replaces a file there.
          save_format: `keras`, or None.
          **kwargs: as of Keras.

        Raises:
          ValueError: another format.
        """
        path = os.fspath(filepath)
        if save_format not in (None, "keras") or not path.endswith(".keras"):
            raise ValueError(
                f"save to {path!r}, save_format {save_format!r}; expected a path that ends with '.keras', as other "
                "formats of Keras cannot be loaded again; add it, or for a server use consort.export_model"
            )
        super().save(path, overwrite=overwrite, save_format="keras", **kwargs)

    def build_from_config(self, config: dict[str, Any]) -> None:
        """Makes all variables of a model that is loaded; they do not depend on the shapes of a batch."""
        self.build_variables()
        self.built = True

    def build_variables(self) -> None:
        """Makes all variables, as the first batch would."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it is built")
