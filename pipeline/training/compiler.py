"""Keeps torch's compiler out of runs that compile nothing: importing it takes longer than all else before training."""

import sys
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any

import torch

NAME = "torch._dynamo"


class _Deferred(ModuleType):
    """Stands in for the compiler until something asks for more than the two calls that do nothing without it.

    An optimizer imports it to tell it, by ``disable`` and ``graph_break``, what it must not compile.
    """

    @staticmethod
    def disable(function: Callable[..., Any], *_: object, **__: object) -> Callable[..., Any]:
        return function

    @staticmethod
    def graph_break(*_: object, **__: object) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name != "__path__":  # inspect asks all modules for their file
            raise AttributeError(name)
        if sys.modules.get(NAME) is self:
            del sys.modules[NAME]
        return getattr(import_module(NAME), name)


def defer_compiler() -> None:
    """Import ``torch._dynamo`` at its first real use in this process, instead of by every optimizer.

    For a process that compiles no optimizer; where the compiler is there already, it stays.
    """
    if NAME not in sys.modules:
        sys.modules[NAME] = torch._dynamo = _Deferred(NAME)
