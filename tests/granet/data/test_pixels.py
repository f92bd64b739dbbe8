"""granet.data.pixels: every mode of an image file with its own brightness, or a line that names the file."""

import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from granet.data.pixels import read_picture, tell_of_turned
from granet.types import UserError

RAMP = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
DARK_TO_LIGHT = RAMP >> 8


def tiff(values: np.ndarray, bits: int = 16, *, white_is_zero: bool = False, signed: bool = False) -> bytes:
    """An uncompressed TIFF of one channel; 12-bit rows are packed, high bits first."""
    height, width = values.shape
    data = values.astype("<u2").tobytes()
    if bits == 12:
        digits = ["".join(f"{value:012b}" for value in row) for row in values]
        data = b"".join(int(row, 2).to_bytes(len(row) // 8, "big") for row in digits)
    photometric, kind = int(not white_is_zero), 2 if signed else 1
    tags = [
        (256, width),
        (257, height),
        (258, bits),
        (259, 1),
        (262, photometric),
        (273, 8 + 2 + 10 * 12 + 4),
    ]
    tags += [(277, 1), (278, height), (279, len(data)), (339, kind)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + data


def saved(path: Path, content: Image.Image | np.ndarray | bytes, **options: object) -> Path:
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        image = Image.fromarray(content) if isinstance(content, np.ndarray) else content
        image.save(path, **options)
    return path


def pixels(path: Path) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return np.asarray(read_picture(path).image)


def fault(path: Path) -> str:
    with pytest.raises(UserError) as error:
        read_picture(path)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    "name, content",
    [
        ("16.png", RAMP),
        ("little.tif", RAMP),
        ("big.tif", RAMP.astype(">u2")),
        ("packed.tif", tiff(RAMP >> 4, bits=12)),
        ("negative.tif", tiff(65535 - RAMP, white_is_zero=True)),
        ("16.jp2", RAMP),
        ("16.pgm", RAMP),
        ("12.pgm", b"P5 8 8 4095\n" + (RAMP >> 4).astype(">u2").tobytes()),
    ],
)
def test_wide_greys_keep_their_brightness(name: str, content: np.ndarray | bytes, tmp_path: Path) -> None:
    grey = pixels(saved(tmp_path / name, content))
    assert grey.shape == (8, 8, 3) and (grey == grey[..., :1]).all()
    assert np.abs(grey[..., 0] - DARK_TO_LIGHT.astype(int)).max() <= (1 if name == "12.pgm" else 0)


@pytest.mark.parametrize(
    "name, content",
    [
        ("whole.tif", RAMP.astype(np.int32)),
        ("float.tif", (RAMP / 65535).astype(np.float32)),
        ("float.pfm", (RAMP / 65535).astype(np.float32)),
        ("signed.tif", tiff(RAMP, signed=True)),
    ],
)
def test_numbers_without_a_white_are_refused(name: str, content: np.ndarray | bytes, tmp_path: Path) -> None:
    path = saved(tmp_path / name, content)
    assert f"{path} is not a readable image" in (message := fault(path))
    assert "have no defined white; save it with 8 or 16 bits" in message


def palette() -> Image.Image:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 250, 120, 60])
    return image


@pytest.mark.parametrize(
    "name, content, options, colour",
    [
        ("bit.png", Image.new("1", (8, 8), 1), {}, (255, 255, 255)),
        ("grey.png", Image.new("L", (8, 8), 7), {"transparency": 7}, (7, 7, 7)),
        ("alpha-grey.png", Image.new("LA", (8, 8), (200, 10)), {}, (200, 200, 200)),
        ("alpha.png", Image.new("RGBA", (8, 8), (200, 100, 50, 10)), {}, (200, 100, 50)),
        ("key.png", Image.new("RGB", (8, 8), (7, 8, 9)), {"transparency": (7, 8, 9)}, (7, 8, 9)),
        ("palette.png", palette(), {"transparency": 1}, (250, 120, 60)),
        ("alpha-palette.png", palette(), {"transparency": bytes([255, 40])}, (250, 120, 60)),
        ("palette.gif", palette(), {"transparency": 1}, (250, 120, 60)),
        ("ink.tif", Image.new("CMYK", (8, 8), (0, 255, 255, 0)), {}, (255, 0, 0)),
    ],
)
def test_transparency_is_dropped_and_colours_stay(
    name: str, content: Image.Image, options: dict, colour: tuple[int, int, int], tmp_path: Path
) -> None:
    assert (pixels(saved(tmp_path / name, content, **options)) == colour).all()


@pytest.mark.parametrize("name", ["turned.jpg", "turned.png", "turned.webp"])
@pytest.mark.parametrize("orientation, turned", [(1, False), (3, True), (6, True)])
def test_orientation_is_told_and_ignored(name: str, orientation: int, turned: bool, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    upper = np.zeros((32, 64), np.uint8)
    upper[:16] = 255
    picture = read_picture(saved(tmp_path / name, Image.fromarray(upper).convert("RGB"), exif=exif))
    assert picture.turned == turned
    assert np.asarray(picture.image)[[8, 24], 32, 0].tolist() == pytest.approx([255, 0], abs=9)


def test_a_tiff_is_turned_by_pillow(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    picture = read_picture(saved(tmp_path / "turned.tif", Image.new("RGB", (64, 32)), exif=exif))
    assert (picture.image.size, picture.turned) == ((32, 64), False)


def test_damaged_exif_harms_no_picture(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.webp", Image.new("RGB", (8, 8), (9, 9, 9)), exif=b"Exif\0\0XX")
    assert not read_picture(path).turned


def test_the_number_of_turned_images_is_told_once() -> None:
    tell_of_turned(0, 5)
    with pytest.warns(UserWarning, match="^1,200 of 3,000 images have an EXIF orientation, which is ignored"):
        tell_of_turned(1200, 3000)


def whole(tmp_path: Path, name: str) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    return saved(tmp_path / f"whole-{name}", noise).read_bytes()


@pytest.mark.parametrize(
    "name, keep, reason",
    [
        ("a.jpg", 700, "truncated"),
        ("a.png", 700, "truncated"),
        ("a.jpg", 0, "it is empty"),
        ("a.jpg", -1, "no image format is known that begins like it"),
        ("new\nline.jpg", 0, "it is empty"),
    ],
)
def test_a_damaged_file_is_named(name: str, keep: int, reason: str, tmp_path: Path) -> None:
    content = whole(tmp_path, name.replace("\n", " "))[:keep] if keep >= 0 else b"<html>404</html>"
    message = fault(saved(tmp_path / name, content))
    assert name.partition("\n")[0] in message and reason in message


@pytest.mark.parametrize("error", [RuntimeError("AVIF:\nno"), struct.error("short"), MemoryError()])
def test_whatever_a_decoder_raises_is_one_line(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Path) -> Image.Image:
        raise error

    monkeypatch.setattr(Image, "open", fail)
    assert "a.avif is not a readable image (" in fault(tmp_path / "a.avif")


def test_a_broken_link_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").symlink_to("/nowhere.jpg")
    assert "a.jpg is not a readable image (No such file or directory)" in fault(tmp_path / "a.jpg")
