"""granet.data.distortion: operations beside torchvision's, holes, mixed images and labels, and what decides draws."""

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from torchvision.transforms.v2 import InterpolationMode, RandAugment

from granet.data.distortion import Distortion, erasing, mixing, randaugment
from granet.types import UserError

IMAGES = torch.randint(256, (12, 3, 20, 24), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
ALL = slice(0, 12)
THEIRS = {
    **{
        "identity": "Identity",
        "shear x": "ShearX",
        "shear y": "ShearY",
        "rotate": "Rotate",
        "color": "Color",
    },
    **{"translate x": "TranslateX", "translate y": "TranslateY", "brightness": "Brightness"},
    **{"contrast": "Contrast", "sharpness": "Sharpness", "posterize": "Posterize", "solarize": "Solarize"},
    **{"autocontrast": "AutoContrast", "equalize": "Equalize"},
}


@pytest.mark.parametrize("magnitude", [0, 5, 9, 22, 30])
@pytest.mark.parametrize("name", randaugment.OPERATIONS)
def test_an_operation_is_torchvisions_on_every_image(name, magnitude):
    signed, operation = randaugment.OPERATIONS[name]
    theirs = RandAugment()
    make, is_signed = theirs._AUGMENTATION_SPACE[THEIRS[name]]
    strengths = make(31, *IMAGES.shape[2:])
    assert signed == is_signed and {*theirs._AUGMENTATION_SPACE} == {*THEIRS.values()}
    for sign in (1, -1) if signed else (1,):
        strength = 0.0 if strengths is None else sign * float(strengths[magnitude])
        changed = operation(IMAGES, sign * magnitude / 30)
        for image, ours in zip(IMAGES, changed, strict=True):
            expected = theirs._apply_image_or_video_transform(
                image, THEIRS[name], strength, InterpolationMode.NEAREST, {torch.Tensor: None}
            )
            off = (ours.int() - torch.as_tensor(expected).int()).abs()
            assert off.max() <= 1 and (off > 0).float().mean() < 0.02  # its strengths are float32


def test_images_that_drew_alike_go_together_and_each_gets_its_own():
    draws = randaugment.drawn(12, 2, seed=0, step=7)
    assert draws.shape == (2, 2, 12) and len(np.unique(draws[0])) > 5
    batch = randaugment.randaugmented(IMAGES.contiguous(memory_format=torch.channels_last), draws, 9)
    for place, image in enumerate(IMAGES):
        alone = image[None]
        for number, turned in zip(draws[0, :, place], draws[1, :, place], strict=True):
            signed, operation = [*randaugment.OPERATIONS.values()][number]
            alone = operation(alone, -0.3 if signed and turned else 0.3)
        assert torch.equal(batch[place], alone[0]), place
    assert not torch.equal(batch, IMAGES)


def test_holes_are_rectangles_of_the_mean_colour():
    holes = erasing.holes(4000, 20, 30, 0.25, seed=0, step=0)
    top, left, height, width = holes.T
    areas = height * width / 600
    some = areas > 0
    assert some.mean() == pytest.approx(0.25, abs=0.02)
    assert ((top >= 0) & (left >= 0) & (top + height <= 20) & (left + width <= 30)).all()
    assert areas[some].min() > 0.01 and areas.max() < 0.37 and (height < 20).all() and (width < 30).all()
    assert areas[some].mean() == pytest.approx(0.175, abs=0.02)
    images = torch.ones(12, 3, 20, 30)
    expected = images.clone()
    for place, (y, x, h, w) in enumerate(holes[:12]):
        expected[place, :, y : y + h, x : x + w] = 0
    assert torch.equal(erasing.erased(images, holes[:12]), expected) and expected.sum() < images.sum()


def mixed(images, labels, mixup, cutmix, step=0, part=None):
    return mixing.mixed(images, labels, mixup, cutmix, 5, seed=0, step=step, part=part)


LABELS = torch.arange(12) % 5


def test_mixup_mixes_images_and_labels_alike():
    images = torch.randn(12, 3, 4, 4)
    got, shares = mixed(images, LABELS, 0.8, 0.0)
    share = shares[0, 0].item()
    assert 0 < share < 1 and shares.sum(1).allclose(torch.ones(12))
    expected = share * images + (1 - share) * images.roll(1, 0)
    assert torch.allclose(got, expected, atol=1e-6)
    logits = torch.randn(12, 5)
    both = [
        cross_entropy(logits, labels, label_smoothing=0.1, reduction="none")
        for labels in (LABELS, LABELS.roll(1))
    ]
    loss = cross_entropy(logits, shares, label_smoothing=0.1, reduction="none")
    assert torch.allclose(loss, share * both[0] + (1 - share) * both[1], atol=1e-6)  # smoothed, then mixed


def test_cutmix_gives_labels_the_shares_of_the_pixels():
    images = torch.arange(12.0).view(12, 1, 1, 1).expand(12, 3, 16, 16).contiguous()
    for step in range(8):
        got, shares = mixed(images, LABELS, 0.0, 1.0, step)
        own = (got == images)[:, 0].float().mean((1, 2))
        assert torch.allclose(shares.gather(1, LABELS[:, None])[:, 0], own, atol=1e-6)


def test_every_batch_draws_one_of_both_and_parts_are_mixed_alike():
    images = torch.randn(12, 3, 8, 8)
    alphas = [(0.8, 1.0), (0.8, 0.0), (0.0, 1.0)]
    same = [0, 0]
    for step in range(20):
        either, *both = (mixed(images, LABELS, *alpha, step)[0] for alpha in alphas)
        same = [count + torch.equal(either, one) for count, one in zip(same, both, strict=True)]
    assert sum(same) == 20 and min(same) > 4
    whole = mixed(images, LABELS, 0.8, 0.0, part=4)
    parts = [mixed(images[i : i + 4], LABELS[i : i + 4], 0.8, 0.0) for i in (0, 4, 8)]
    assert torch.equal(whole[0], torch.cat([part[0] for part in parts]))
    assert torch.equal(whole[1], torch.cat([part[1] for part in parts]))


def test_draws_are_of_seed_and_step_alone_and_a_process_sees_its_share_of_them():
    distortion = Distortion(0, 5, num_ops=2, erasing=0.5, mixup=0.8, cutmix=1.0, part=6)
    other = Distortion(1, 5, num_ops=2, erasing=0.5, mixup=0.8, cutmix=1.0, part=6)

    def made(one, step, seen):
        images = one.pixels(IMAGES[seen], step, 12, seen)
        return one.batch(images.float() / 255, LABELS[seen], step, 12, seen)

    state = torch.get_rng_state()
    first, *others = made(distortion, 3, ALL), made(distortion, 4, ALL), made(other, 3, ALL)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(5)
    again = made(distortion, 3, ALL)
    halves = [made(distortion, 3, half) for half in (slice(0, 6), slice(6, 12))]
    for number in range(2):
        assert torch.equal(first[number], again[number])
        assert torch.equal(first[number], torch.cat([half[number] for half in halves]))
    assert not any(torch.equal(first[0], one[0]) for one in others)
    off = Distortion(0, 5)
    assert off.pixels(IMAGES, 0, 12, ALL) is IMAGES and off.batch(IMAGES, LABELS, 0, 12, ALL)[1] is LABELS


def test_without_torchvision_it_is_said(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    Distortion(0, 5, erasing=0.5)
    with pytest.raises(
        UserError, match=r"^train\.mixup=0\.8 needs torchvision; install it, or write mixup: 0$"
    ):
        Distortion(0, 5, mixup=0.8)
