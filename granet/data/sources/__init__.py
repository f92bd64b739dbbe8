"""Data sets beside the paper's, each read as its authors publish it."""

from granet.data.sources.fashion_mnist import fashion_mnist
from granet.data.sources.hugging_face import hugging_face
from granet.data.sources.imagenet100 import imagenet100
from granet.data.sources.svhn import svhn
from granet.data.sources.tiny_imagenet import tiny_imagenet

__all__ = ["fashion_mnist", "hugging_face", "imagenet100", "svhn", "tiny_imagenet"]
