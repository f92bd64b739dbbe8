"""Names of weights, whatever computes them."""

import re


def plain_name(name: str) -> str:
    """What a parameter was called before it was parametrized.

    >>> plain_name("a.parametrizations.weight.original"), plain_name("a.weight")
    ('a.weight', 'a.weight')
    """
    return re.sub(r"parametrizations\.(\w+)\.original$", r"\1", name)
