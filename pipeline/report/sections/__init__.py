"""The report's sections: blocks that every renderer prints. What they say stands in sentences.yaml."""

from functools import cache
from pathlib import Path

from pipeline.params.files import read_yaml


@cache
def _sentences() -> dict[str, str]:
    return read_yaml(Path(__file__).with_name("sentences.yaml"))


def say(*names: str, **values: object) -> str:
    """Sentences of sentences.yaml one after the other, with their {values} filled in."""
    return " ".join(_sentences()[name].format(**values) for name in names)
