"""Progressive skeletonization: pruning in rounds from which weights come back."""

from granet.inits.rounds import in_rounds
from granet.method import Method
from granet.methods.parameters import RoundImages, Rounds, Sparsity, checked


@checked
def force(*, sf: Sparsity, rounds: Rounds = 60, num_images: RoundImages = 128) -> Method:
    """FORCE (de Jorge et al. 2021, Algorithm 1): as iter_snip, but what a round has pruned may come back in the next.

    Every weight is scored by its initial value and the gradient of the pruned network, whose masked weights are zero.
    Rounds and images as its released code runs CIFAR-10 (CIFAR-100: ten times the images). Left out: a linear schedule
    of rounds.
    """
    return Method("before_training", lambda context: in_rounds(context, sf, rounds, num_images, recover=True))
