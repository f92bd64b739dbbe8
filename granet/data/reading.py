"""What we add to FFCV's reader: boxes that are given instead of drawn, and errors that arrive. Imports FFCV.

FFCV draws its boxes with numba's generator, one per thread, which nothing seeds. Here every image's box stands beside
its entry in the file's metadata, so that an epoch is the same for any number of threads and processes.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from ffcv.fields.rgb_image import IMAGE_MODES, ResizedCropRGBImageDecoder
from ffcv.libffcv import imdecode, resize_crop
from ffcv.loader.epoch_iterator import EpochIterator
from ffcv.pipeline.compiler import Compiler

KEPT: list[Callable[..., Any]] = []
"""Compiled functions. FFCV changes a numba type that is a key in their tables: freeing one prints a KeyError."""

BOX = [("top", "<u2"), ("left", "<u2"), ("rows", "<u2"), ("columns", "<u2")]


def with_boxes(metadata: np.ndarray, image: str, boxes_N4: np.ndarray) -> np.ndarray:
    """A copy of a reader's ``metadata`` whose field ``image`` has a box per image as well, as in BOX."""
    fields = [
        (name, np.dtype(metadata.dtype[name].descr + BOX) if name == image else metadata.dtype[name])
        for name in metadata.dtype.names or ()
    ]
    wider = np.zeros(len(metadata), np.dtype(fields, align=True))
    for name, _ in fields:
        for part in metadata.dtype[name].names or [None]:
            if part is None:
                wider[name] = metadata[name]
            else:
                wider[name][part] = metadata[name][part]
    for column, (name, _) in enumerate(BOX):
        wider[image][name] = boxes_N4[:, column]
    return wider


class BoxDecoder(ResizedCropRGBImageDecoder):
    """Decodes an image, JPEG or raw, and resizes its box to ``output_size`` (height, width), averaging over areas."""

    @property
    def get_crop_generator(self) -> Callable[..., Any]:
        """Not used: the boxes are given."""
        raise NotImplementedError

    def generate_code(self) -> Callable[..., np.ndarray]:
        """What FFCV compiles: B images into ``storage``, one thread per image."""
        jpg = IMAGE_MODES["jpg"]
        read: Callable[..., Any] = self.memory_read
        images = Compiler.get_iterator()
        decode_c, resize_c = Compiler.compile(imdecode), Compiler.compile(resize_crop)
        KEPT.extend([decode_c, resize_c])

        def decode(batch_indices, storage, metadata, storage_state):
            out_BHWC, scratch_BS = storage
            for place in images(len(batch_indices)):
                entry = metadata[batch_indices[place]]
                data = read(entry["data_ptr"], storage_state)
                height, width = np.uint32(entry["height"]), np.uint32(entry["width"])
                if entry["mode"] == jpg:
                    pixels = scratch_BS[place].reshape(-1)[: height * width * 3]
                    decode_c(data, pixels, height, width, height, width)
                    image_HWC = pixels.reshape(height, width, 3)
                else:
                    image_HWC = data.reshape(height, width, 3)
                top, left = np.int64(entry["top"]), np.int64(entry["left"])
                bottom, right = top + np.int64(entry["rows"]), left + np.int64(entry["columns"])
                resize_c(image_HWC, top, bottom, left, right, out_BHWC[place])
            return out_BHWC[: len(batch_indices)]

        decode.is_parallel = True  # type: ignore[attr-defined]
        return decode


class Epoch(EpochIterator):
    """FFCV's thread that decodes an epoch; where it fails, the one who waits for a batch gets the error.

    FFCV's own would let them wait forever.
    """

    error: BaseException | None = None

    def run(self) -> None:
        """Decode all batches."""
        if torch.cuda.is_available():  # a thread begins on the first GPU, whatever this process's is
            torch.cuda.set_device(self.current_stream.device)
        try:
            super().run()
        except BaseException as error:  # whatever it is, somebody waits
            self.error = error
            self.output_queue.put(None)

    def __next__(self) -> Any:
        """The next batch."""
        try:
            return super().__next__()
        except StopIteration:
            if self.error:
                raise self.error from None
            raise
