"""granet.data.labels: what numbers mean where names are numbers too; no two classes become one."""

import pytest

from granet.data.labels import Listing, class_names, numbers_of
from granet.types import UserError


def by_folder(split: str, *names: str) -> Listing:
    return Listing(split, f"/data/{split}", False, [(f"{name}/x.png", name) for name in names])


def by_list(split: str, *lines: str) -> Listing:
    entries = [(path, label) for path, _, label in (line.rpartition(" ") for line in lines)]
    return Listing(split, f"/data/{split}.txt", True, entries)


def read(train: Listing, test: Listing) -> tuple[dict[str, str], dict[str, str]]:
    """The class of every file, in both splits."""
    classes = class_names(train, test)
    trained = numbers_of(train, classes, {})
    tested = numbers_of(test, classes, trained if train.by_list and train.is_numeric else {})
    return named(train, classes, trained), named(test, classes, tested)


def named(listing: Listing, classes: list[str], numbers: dict[str, int]) -> dict[str, str]:
    return {name: classes[numbers[label]] for name, label in listing.entries if label in numbers}


def folders(listing: Listing) -> dict[str, str]:
    return {name: name.partition("/")[0] for name, _ in listing.entries}


FROM_1, TO_11 = ["1", "2", "3"], [str(n) for n in range(1, 12)]


@pytest.mark.parametrize(
    "names", [FROM_1, TO_11, [str(n) for n in range(12)], ["c1", "c2", "c10"], ["a", "B"]]
)
@pytest.mark.parametrize("test_by_list", [False, True])
def test_numbers_mean_the_folder_that_their_images_lie_in(names: list[str], test_by_list: bool) -> None:
    lines = [f"{name}/{k}.png {place}" for place, name in enumerate(names) for k in range(2)]
    train = by_list("train", *lines)
    test = by_list("val", *lines) if test_by_list else by_folder("val", *names)
    assert read(train, test) == (folders(train), folders(test))


@pytest.mark.parametrize("labels, meant", [("012", "123"), ("123", "123"), (("01", "02", "03"), "123")])
def test_a_list_without_folders_counts_from_0_or_names(labels: str, meant: str) -> None:
    flat = by_list("val", *(f"{n}.png {label}" for n, label in enumerate(labels)))
    assert list(read(by_folder("train", *FROM_1), flat)[1].values()) == list(meant)


def test_numbers_of_a_list_without_folders_mean_what_they_mean_in_the_other() -> None:
    train = by_list("train", *(f"{name}/x.png {place}" for place, name in enumerate(TO_11)))
    flat = by_list("val", *(f"{place}.png {place:02}" for place in range(11)))
    assert list(read(train, flat)[1].values()) == TO_11


@pytest.mark.parametrize("names", [TO_11, ["c1", "c2", "c10"]])
def test_numbers_whose_order_is_open_are_refused(names: list[str]) -> None:
    flat = by_list("val", *(f"{place}.png {place}" for place in range(len(names))))
    with pytest.raises(UserError, match=r"/data/val.txt: its numbers may count .* write the classes' names"):
        read(by_folder("train", *names), flat)


def test_folders_that_are_no_classes_do_not_name_them() -> None:
    lines = ["monday/a.png 0", "monday/b.png 1", "tuesday/c.png 0"]
    train, test = by_list("train", *lines), by_list("val", *lines)
    assert set(read(train, test)[0].values()) == {"0", "1"}


def test_numbers_beside_wrong_folders_are_places() -> None:
    """Labels with noise: folders name the classes, numbers count them."""
    train = by_list("train", "cat/a.png 0", "cat/b.png 1", "dog/c.png 1")
    assert read(train, by_folder("val", "cat", "dog"))[0] == {
        "cat/a.png": "cat",
        "cat/b.png": "dog",
        "dog/c.png": "dog",
    }


def test_folders_may_be_places_of_named_classes_only() -> None:
    """Test images in folders 0, 1, ... as ImageNet-V2 has them; but folders 0, 1 are none of the classes 1, 2."""
    assert read(by_folder("train", "cat", "dog"), by_folder("val", "0", "1"))[1] == {
        "0/x.png": "cat",
        "1/x.png": "dog",
    }
    assert read(by_folder("train", "1", "2"), by_folder("val", "0", "1"))[1] == {"1/x.png": "1"}


@pytest.mark.parametrize("labels", ["124", "134"])
def test_one_reading_holds_for_a_whole_list(labels: str) -> None:
    """4 is no class: then 1 is not a place either."""
    flat = by_list("val", *(f"{n}.png {label}" for n, label in enumerate(labels)))
    assert "4" not in (tested := read(by_folder("train", *FROM_1), flat)[1]).values() and len(tested) == 2
