"""One way to turn names and numbers into a random seed."""

import hashlib


def stable_seed(*parts: object) -> int:
    """A 31-bit seed from the text of ``parts``: the same on every machine, process and Python version.

    Neighbouring inputs share nothing, so that (seed 0, epoch 1) and (seed 1, epoch 0) draw differently.
    31 bits, because a signed 32-bit integer is the narrowest type a seed passes through on its way.

    >>> stable_seed("order", 0), stable_seed("order", 1)
    (1407273486, 75008293)
    """
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") >> 1
