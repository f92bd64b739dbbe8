"""Files that must be the official ones, and folders in a layout of their own: one line for what is wrong."""

from pathlib import Path

from granet.data.root import found_at
from granet.data.split import Request
from granet.types import UserError


def root_of(request: Request, what: str) -> Path:
    """data.root; raises UserError, with what is to lie there, where it is not set."""
    if request.root is None:
        raise UserError(f"data.root is not set; set it to the folder of {what}")
    return request.root


def check_size(request: Request, name: str, size: int) -> None:
    """Raise UserError where data.image_size is another than the one of all images (pixels)."""
    if request.image_size not in (None, size):
        raise UserError(
            f"data.image_size={request.image_size} but {name}'s images are {size} x {size}; set data.image_size=null"
        )


def checked(root: Path, path: Path, md5: str, verify: bool) -> Path:
    """``path``, which must be there and, where ``verify``, have this md5. Raises UserError."""
    from torchvision.datasets.utils import check_integrity

    if not path.is_file():
        raise UserError(
            f"data.root={root}: {path} is missing; {found_at(root, ())}; download {path.name} to there (data/README.md)"
        )
    if verify and not check_integrity(path, md5):
        raise UserError(
            f"data.root={root}: {path} is not the official file (its md5 differs: cut short or changed); download "
            f"{path.name} again, or set data.verify=false to read other images in its layout"
        )
    return path


def damaged(root: Path, path: Path, reason: object) -> UserError:
    """The error for a file that is there but cannot be read."""
    return UserError(
        f"data.root={root}: {path} cannot be read ({' '.join(str(reason).split())}); download it again"
    )
