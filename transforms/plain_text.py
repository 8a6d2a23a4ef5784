"""YAML and JSON of files from elsewhere: values alone, and one kind of error for whatever is wrong with the text."""

import json
from typing import Any

import yaml


class _PlainLoader(yaml.SafeLoader):
    """Values without aliases: a few lines of them stand for more values than memory holds."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.YAMLError(f"the alias *{event.anchor} in line {event.start_mark.line + 1}; write the value out")
        return super().compose_node(parent, index)

    def compose_mapping_node(self, anchor: dict[Any, yaml.Node]) -> yaml.MappingNode:
        """YAML forbids equal keys; the reader would keep the last one without a word."""
        node = super().compose_mapping_node(anchor)
        lines: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if isinstance(key, yaml.ScalarNode) and key.value in lines:
                places = f"lines {lines[key.value]} and {line}"
                raise yaml.YAMLError(f"the key {key.value!r} twice, in {places}; leave one of them out")
            if isinstance(key, yaml.ScalarNode):
                lines[key.value] = line
        return node


def parse_yaml(text: str) -> Any:
    """The value that a YAML text writes: mappings, lists, texts, numbers, truth values, dates.

    Raises:
      YAMLError: the text is not YAML, names a Python object, uses an alias or a key twice, nests too deeply, or holds
        an impossible number or date.
    """
    try:
        loader = _PlainLoader(text)
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except RecursionError as error:
        raise yaml.YAMLError("values nested too deeply") from error
    except yaml.MarkedYAMLError as error:
        if error.problem_mark is None:
            raise
        line, column = error.problem_mark.line + 1, error.problem_mark.column + 1
        raise yaml.YAMLError(f"line {line}, column {column}: {error.problem or error.context}") from error
    except yaml.reader.ReaderError as error:
        raise yaml.YAMLError(f"character {error.position + 1}: {error.reason}") from error
    except ValueError as error:
        raise yaml.YAMLError(f"a value that cannot be ({error})") from error


def parse_json(text: str) -> Any:
    """The value that a JSON text writes.

    Raises:
      ValueError: the text is not JSON, nests too deeply, or holds a number of thousands of digits.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("values nested too deeply") from error
