"""granet.data.augment: against a slow reference, image by image, with numpy's own padding."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from granet.common.seeds import stable_seed
from granet.data.augment import Augment
from granet.types import UserError

MEAN, STD = (0.1, 0.2, 0.3), (0.5, 0.25, 0.2)
IDENTITY: dict[str, Any] = {"mean": (0.0,) * 3, "std": (1 / 255,) * 3}  # normalisation that changes nothing


def epoch_generator(seed: int, epoch: int, device: str) -> torch.Generator:
    return torch.Generator(device).manual_seed(stable_seed("augment", seed, epoch))


def numbered(batch: int = 64, height: int = 7, width: int = 5) -> Tensor:
    """Images whose every pixel has another colour, none black, in channels-last memory."""
    pixels = np.arange(1, batch * height * width * 3 + 1) % 251 + 1
    images = torch.from_numpy(pixels.astype(np.uint8)).view(batch, height, width, 3)
    return images.permute(0, 3, 1, 2)


def possible(image_CHW: np.ndarray, padding: int, mode: str, flip: bool) -> list[bytes]:
    """All results of padding, cropping and flipping one image, in the order (top, left, flipped)."""
    _, height, width = image_CHW.shape
    edges = ((0, 0), (padding, padding), (padding, padding))
    padded = np.pad(image_CHW, edges, mode="reflect") if mode == "reflect" else np.pad(image_CHW, edges)
    results = []
    for top in range(2 * padding + 1):
        for left in range(2 * padding + 1):
            crop = padded[:, top : top + height, left : left + width]
            results += [crop.tobytes(), crop[:, :, ::-1].tobytes()] if flip else [crop.tobytes()]
    return results


@given(
    padding=st.integers(0, 4),
    mode=st.sampled_from(["reflect", "zero"]),
    flip=st.booleans(),
    seed=st.integers(0, 2**40),
)
def test_every_result_is_a_crop_of_its_own_image(padding: int, mode: Any, flip: bool, seed: int) -> None:
    images = numbered(batch=8)
    results = Augment(padding, mode, flip, **IDENTITY).train(images, epoch_generator(seed, 0, "cpu"))
    for image, result in zip(images.numpy(), results.numpy(), strict=True):
        assert result.round().astype(np.uint8).tobytes() in possible(image, padding, mode, flip)


@pytest.mark.parametrize("mode", ["reflect", "zero"])
def test_all_crops_and_flips_are_equally_likely(mode: Any) -> None:
    images = numbered(batch=1).expand(9000, -1, -1, -1)
    results = (
        Augment(1, mode, True, **IDENTITY).train(images, epoch_generator(0, 0, "cpu")).round().byte().numpy()
    )
    drawn = [result.tobytes() for result in results]
    counts = [drawn.count(outcome) for outcome in possible(images[0].numpy(), 1, mode, flip=True)]
    assert len(counts) == 18 and sum(counts) == 9000
    assert min(counts) > 400 and max(counts) < 600  # 500 expected, standard deviation 22


def test_zero_padding_is_black_before_normalisation() -> None:
    white = torch.full((500, 3, 4, 4), 255, dtype=torch.uint8)
    results = Augment(3, "zero", False, MEAN, STD).train(white, epoch_generator(0, 0, "cpu"))
    black_and_white = torch.tensor([[(v - m) / s for v in (0, 1)] for m, s in zip(MEAN, STD, strict=True)])
    for channel in range(3):
        torch.testing.assert_close(results[:, channel].unique(), black_and_white[channel])


def test_normalisation_is_torchvisions() -> None:
    from torchvision.transforms.v2.functional import normalize, to_dtype

    images = numbered()
    expected = normalize(to_dtype(images, torch.float32, scale=True), list(MEAN), list(STD))
    torch.testing.assert_close(Augment(4, "zero", True, MEAN, STD).evaluate(images), expected)


def test_without_padding_and_flip_train_is_evaluate() -> None:
    augment = Augment(0, "reflect", False, MEAN, STD)
    images = numbered()
    assert torch.equal(augment.train(images, epoch_generator(0, 0, "cpu")), augment.evaluate(images))


def test_results_keep_the_shape_and_leave_the_images_alone() -> None:
    images = numbered()
    before = images.clone()
    for result in (
        Augment(2, "zero", True, MEAN, STD).train(images, epoch_generator(0, 0, "cpu")),
        Augment(2, "zero", True, MEAN, STD).evaluate(images),
    ):
        assert result.shape == images.shape and result.dtype == torch.float32
        assert result.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(images, before)


def test_memory_format_changes_nothing() -> None:
    augment, images = Augment(2, "reflect", True, MEAN, STD), numbered()
    one = augment.train(images, epoch_generator(0, 0, "cpu"))
    assert torch.equal(one, augment.train(images.contiguous(), epoch_generator(0, 0, "cpu")))


def test_a_resumed_epoch_draws_the_same() -> None:
    augment, images = Augment(2, "reflect", True, MEAN, STD), numbered()

    def epoch(seed: int, number: int) -> list[Tensor]:
        generator = epoch_generator(seed, number, "cpu")
        return [augment.train(images, generator) for _ in range(3)]

    straight = [epoch(0, number) for number in range(3)]
    assert all(torch.equal(a, b) for a, b in zip(epoch(0, 2), straight[2], strict=True))
    others = [straight[0][1], straight[1][0], straight[2][0], epoch(1, 0)[0]]
    assert not any(torch.equal(straight[0][0], other) for other in others)


def test_the_global_generator_is_not_touched() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    Augment(2, "zero", True, MEAN, STD).train(numbered(), epoch_generator(0, 0, "cpu"))
    assert torch.equal(torch.get_rng_state(), before)


def test_evaluating_first_leaves_training_possible() -> None:
    """The cached constants, made under inference mode, must not stop a backward pass later."""
    augment = Augment(1, "zero", True, (0.11, 0.22, 0.33), STD)
    with torch.inference_mode():
        augment.evaluate(numbered())
    weight = torch.ones(3, requires_grad=True)
    images = augment.train(numbered(), epoch_generator(0, 0, "cpu"))
    (images * weight.view(3, 1, 1)).sum().backward()
    assert weight.grad is not None


def test_bad_values() -> None:
    with pytest.raises(UserError, match="mode='wrap' is unknown"):
        Augment(1, "wrap", True, MEAN, STD)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="padding=5 must be smaller than the 7 x 5 images"):
        Augment(5, "zero", True, MEAN, STD).train(numbered(), epoch_generator(0, 0, "cpu"))
