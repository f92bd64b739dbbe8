"""Drop by magnitude, grow by gradient within blocks: N:M sparsity."""

from granet.criteria import gradient, magnitude
from granet.drops import Drop, by_fraction
from granet.method import Method, Regenerate
from granet.methods.dense_layers import DENSE_LAYERS, count_sparing
from granet.methods.n_of_m import BlockSize, Pattern, noise
from granet.methods.parameters import (
    DenseLayersName,
    DropFraction,
    DropFractionFinal,
    RegenerateShare,
    Regrown,
    Sparsity,
    UpdateInterval,
    checked,
)


@checked
def rigl_nm(
    *,
    sf: Sparsity,
    m: BlockSize = 4,
    update_interval: UpdateInterval = 1000,
    drop_fraction: DropFraction = 0.5,
    drop_fraction_final: DropFractionFinal = 0.005,
    regenerate_until: RegenerateShare = 1.0,
    dense_layers: DenseLayersName = "none",
    regrown: Regrown = "zero",
) -> Method:
    """RigL (Evci et al. 2020) in N:M masks: N = (1 - sf) M of every M consecutive inputs, so sf = 0.75 is 1:4.

    The lowest |w| of a layer are dropped, wherever they are; a block grows as many as it lost, by |g|. A layer whose
    inputs M does not divide stays dense. This is ours: the defaults are those of `rigl`, and as in `srigl` the layer
    drops and the block grows. Left out: a search for transposable masks, which would serve the backward pass too.
    """
    pattern = Pattern.of(sf, m, DENSE_LAYERS[dense_layers])
    return Method(
        "sparse_to_sparse",
        pattern.initial(noise),
        update_interval,
        regenerate=Regenerate(
            Drop(magnitude, count_sparing(by_fraction, set)),
            gradient,
            drop_fraction,
            drop_fraction_final,
            regenerate_until,
            growth=pattern.growth,
        ),
        regrown=regrown,
    )
