"""By what methods that drop and grow may drop: the criteria of "Fantastic Weights and How to Find Them".

Nowak et al. 2023 compare them in one training loop; lambda of MEST is 1 there. Left out: SET's own, by which as many
positive weights go as negative ones.
"""

from typing import Annotated

from granet import criteria
from granet.common.keys import Key

DROP_CRITERIA: dict[str, criteria.Criterion] = {
    "magnitude": criteria.magnitude,
    "snip": criteria.connection_sensitivity,
    "sensitivity": criteria.sensitivity,
    "reciprocal": criteria.reciprocal_sensitivity,
    "mest": criteria.MagnitudeAndGradient(1.0),
}
DropCriterionName = Annotated[
    str,
    Key(
        "what is dropped has the lowest: magnitude |w| | snip |w g| | sensitivity |g|/|w| | reciprocal |w|/|g| | "
        "mest |w| + |g|",
        choices=tuple(DROP_CRITERIA),
    ),
]
