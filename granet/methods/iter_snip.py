"""SNIP in rounds."""

from granet.inits.rounds import in_rounds
from granet.method import Method
from granet.methods.parameters import RoundImages, Rounds, Sparsity, checked


@checked
def iter_snip(*, sf: Sparsity, rounds: Rounds = 60, num_images: RoundImages = 128) -> Method:
    """Iterative SNIP (de Jorge et al. 2021, Algorithm 1; Verdenius et al. 2020): SNIP in rounds, scored anew in each.

    Rounds, their exponential and one batch of 128 each as its released code runs CIFAR-10; CIFAR-100 has 10 batches,
    Tiny-ImageNet 20, ImageNet 40. Left out: a linear schedule of rounds, and SNIP-it's rounds during training.
    """
    return Method("before_training", lambda context: in_rounds(context, sf, rounds, num_images))
