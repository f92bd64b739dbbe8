"""A key of a configuration is declared once: its default, its meaning, and the values that it may have."""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from granet.types import UserError


@dataclass(frozen=True)
class Key:
    """What a key means, and the range or the choices of its values.

    None is always allowed: whether a key may be None is a matter of its type. The entries of a list are checked one by
    one. NaN and infinity lie in no range. Where there are choices and a range, a text is a choice, and a number lies in
    the range.

    >>> Key("a share", at_least=0, below=1).rule, Key("epochs", at_least=1).rule, Key("which", choices=("a", "b")).rule
    ('in [0, 1)', 'at least 1', 'a or b')
    >>> Key("which", choices=("a",), starts=("b.",)).rule
    'a or b.NAME'
    """

    text: str
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    choices: tuple[str, ...] = ()
    starts: tuple[str, ...] = ()
    """Beside the choices: a text that begins with one of these, and goes on."""
    decides_result: bool = True
    """False: it says where or how fast something runs, and never what comes out; changing it makes no result stale."""

    @property
    def rule(self) -> str:
        """The values that are allowed, in words; empty where all are."""
        if self.choices:
            names = [*self.choices, *(f"{start}NAME" for start in self.starts)]
            *first, last = [*names, *([self._range] if self._range else [])]
            return f"{', '.join(first)} or {last}" if first else last
        return self._range

    @property
    def _range(self) -> str:
        low = self.at_least if self.above is None else self.above
        high = self.at_most if self.below is None else self.below
        if low is not None and high is not None:
            return f"in {'[' if self.above is None else '('}{low:g}, {high:g}{']' if self.below is None else ')'}"
        if low is not None:
            return f"{'at least' if self.above is None else 'above'} {low:g}"
        return "" if high is None else f"{'at most' if self.below is None else 'below'} {high:g}"

    def allows(self, value: Any) -> bool:
        """Whether one value, or every entry of a list, is in the range or one of the choices."""
        if isinstance(value, list | tuple):
            return all(map(self.allows, value))
        if value is None or not self.rule:
            return True
        if self.choices and (isinstance(value, str) or not self._range):
            return value in self.choices or any(
                value.startswith(start) and value != start for start in self.starts
            )
        return (
            math.isfinite(value)
            and (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
        )

    def check(self, name: str, value: Any) -> None:
        """Raise UserError, in one line that names the key and its value, unless `allows` it."""
        if not self.allows(value):
            raise UserError(f"{name}={value!r} must be {self.rule}: {self.text}")


def key(default: Any, text: str, **allowed: Any) -> Any:
    """A field of a configuration's dataclass: its default, its meaning, and what `Key` says of its values."""
    metadata = {"key": Key(text, **allowed)}
    if isinstance(default, list | dict):
        factory: Callable[[], list | dict] = lambda: default.copy()  # noqa: E731 (each instance has a list of its own)
        return dataclasses.field(default_factory=factory, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def keys_of(config: Any) -> dict[str, Key]:
    """The keys of a configuration (a dataclass, or an instance of one) by name; fields without a `Key` are left out."""
    fields = dataclasses.fields(config)
    return {field.name: field.metadata["key"] for field in fields if "key" in field.metadata}


def check_keys(section: str, config: Any) -> None:
    """Check every key of a configuration; messages name it section.key. Raises UserError for the first bad value."""
    for name, about in keys_of(config).items():
        about.check(f"{section}.{name}", getattr(config, name))
