"""Loads a model.yaml: a bounded file, and as much of YAML as an entry needs."""

import os
import re
from typing import Any

import yaml

from backend.domain.catalogue import InvalidEntry
from backend.domain.parameter import shown_value

MAX_FILE_BYTES = 64 * 1024


def load(path: str) -> Any:
    """Return the content of a YAML file.

    Raises:
        InvalidEntry: it cannot be read, or is not the YAML that an entry may use.
    """
    try:
        # O_NONBLOCK: opening a FIFO must not block.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise InvalidEntry([f"The file must have at most {MAX_FILE_BYTES} bytes."])
        return yaml.load(content.decode(), _Loader)  # noqa: S506  (derived from SafeLoader)
    except OSError as error:
        raise InvalidEntry([f"The file cannot be read: {error.strerror}."]) from error
    except UnicodeDecodeError as error:
        raise InvalidEntry(["The file is not UTF-8 text."]) from error
    except ValueError as error:  # a number of thousands of digits
        raise InvalidEntry([f"It is not valid YAML: {shown_value(str(error))}."]) from error
    except RecursionError as error:
        raise InvalidEntry(["It is nested too deeply."]) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        what = getattr(error, "problem", None) or "it cannot be parsed"
        raise InvalidEntry([f"It is not valid YAML{where}: {what}."]) from error


class _Loader(yaml.SafeLoader):
    """Loads YAML with the scalars of YAML 1.2: no is text, and 1e-3 is a number.

    Aliases are refused: a few of them can make gigabytes of a few bytes.
    """

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  (as PyYAML declares it)

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Compose a node that is not an alias."""
        if self.check_event(yaml.AliasEvent):
            at = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "aliases are not allowed", at)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Construct a mapping, none of whose keys is repeated."""
        keys = [self.construct_object(key, deep=deep) for key, _ in node.value]
        texts = {str(key) for key in keys}
        if len(texts) < len(keys):
            raise yaml.constructor.ConstructorError(
                None, None, "a key is repeated", node.start_mark
            )
        return super().construct_mapping(node, deep=deep)


def _construct_integer(_loader: Any, node: Any) -> int:
    return int(node.value)


def _construct_float(_loader: Any, node: Any) -> float:
    return float(node.value)


for _tag, _text in (
    ("null", r"~|null|Null|NULL|"),
    ("bool", r"true|True|TRUE|false|False|FALSE"),
    ("int", r"[-+]?[0-9]+"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_text})$", re.ASCII), None
    )
_Loader.add_constructor("tag:yaml.org,2002:int", _construct_integer)
_Loader.add_constructor("tag:yaml.org,2002:float", _construct_float)
