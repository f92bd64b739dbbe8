"""granet.data.unpickling: what NumPy pickles comes back; whatever else a pickle asks for is refused by name."""

import io
import pickle
from pathlib import Path

import numpy as np
import pytest

from granet.data.unpickling import load
from tests.helpers.spoil import Call

IMAGES = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("array", [IMAGES, IMAGES[:, ::2], np.asfortranarray(IMAGES), np.float64(0.5)])
def test_arrays_and_plain_values_come_back(protocol: int, array: np.ndarray) -> None:
    content = {
        b"data": array,
        "labels": [1, 2.5, None, True],
        b"names": [b"a.png", "b"],
        "pair": (1, {"a": 2}),
    }
    again = load(io.BytesIO(pickle.dumps(content, protocol)))
    np.testing.assert_array_equal(again.pop(b"data"), content.pop(b"data"))
    assert again == content


def test_an_array_of_before_numpy_2_comes_back() -> None:
    content = pickle.dumps(IMAGES, 2).replace(b"numpy._core", b"numpy.core")
    np.testing.assert_array_equal(load(io.BytesIO(content)), IMAGES)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_call_is_refused_by_name_and_not_made(
    protocol: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    content = pickle.dumps([IMAGES, Call()], protocol)
    with pytest.raises(pickle.UnpicklingError, match=r"it asks for posix\.mkdir"):
        load(io.BytesIO(content))
    assert not list(tmp_path.iterdir())
    pickle.loads(content)
    assert [path.name for path in tmp_path.iterdir()] == ["executed"]


@pytest.mark.parametrize("name", ["antigravity.fly", "this.s", "numpy.f2py.compile", "numpy.ndarray.tofile"])
def test_a_module_is_not_even_imported(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        pytest.fail("it is imported")

    module, _, function = name.rpartition(".")
    monkeypatch.setattr("builtins.__import__", refuse)
    with pytest.raises(pickle.UnpicklingError) as error:
        load(io.BytesIO(f"c{module}\n{function}\n.".encode()))
    assert f"it asks for {name}," in str(error.value)
