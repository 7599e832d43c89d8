"""The values of an experiment -> the text of a file that means the same experiment.

PyYAML would write the text "1e-4" without quotes, which is a number where files are read here, an
anchor where one list stands in two places, which is refused there, and rare line breaks as they
are, which are read as spaces.
"""

from __future__ import annotations

from typing import Any

import yaml

from engine.experiment.yaml import CoreResolver
from engine.files import JsonObject

WIDTH = 100  # columns
BREAKS = "\x85\u2028\u2029\ufeff"  # written as escapes between double quotes
FIRST = ("question",)  # then the keys as they are


class _Dumper(CoreResolver, yaml.SafeDumper):
    """Quotes text that would be read as something else; knows no anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def text(self, value: str) -> yaml.ScalarNode:
        style = '"' if any(c in value for c in BREAKS) else None
        return self.represent_scalar("tag:yaml.org,2002:str", value, style)


_Dumper.add_representer(str, _Dumper.text)


def to_yaml(document: JsonObject) -> str:
    """Write an experiment's values (`Sweep.document`) as YAML that the reader reads back equal."""
    first = {key: document[key] for key in FIRST if key in document}
    values = first | {key: value for key, value in document.items() if key not in first}
    return yaml.dump(
        values,
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=None,
        width=WIDTH,
    )
