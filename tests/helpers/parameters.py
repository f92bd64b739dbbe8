"""Parameters for tests: the quick recipe with changes, and any that params.yaml may hold, drawn from the schema."""

import types
from copy import deepcopy
from functools import cache
from typing import Any, Literal, get_args, get_origin, get_type_hints

from hypothesis import reject
from hypothesis import strategies as st

from granet.common.keys import Key, keys_of
from granet.methods import METHODS
from granet.types import UserError
from pipeline.params.checks import check_grid, validate
from pipeline.params.files import compose
from pipeline.params.schema import SECTIONS, Params, Time, section_schema

SPAN = 4
"""How far above its lowest value a number is drawn that has no highest one: runs stay short."""
HIGHEST = 0.99
"""Of a network as small as that of the tests, little is left above this sparsity."""
TIMES = st.sampled_from(["auto", "1it", "7it", "0.3ep", "1ep", "0.0001ep", 1, 12])


@cache
def quick() -> Params:
    """The quick recipe."""
    return compose(["recipe=quick"])


def raw(**changes: Any) -> dict[str, Any]:
    """The quick recipe, of 20 epochs of 12 steps, as plain data with dotted changes: raw(granet__si=0.5)."""
    data = deepcopy(quick().sections())
    data["train"] |= {"epochs": 20, "batch_size": 128}
    for key, value in changes.items():
        section, _, name = key.partition("__")
        data[section] = {**data[section], name: value} if name else value
    return data


def checked(**changes: Any) -> Params:
    """`raw`, validated with all runs of its grid."""
    params = validate(raw(**changes))
    check_grid(params)
    return params


def values_of(kind: Any, key: Key, default: Any) -> st.SearchStrategy:
    """Any value of a key: of its type, in its range or of its choices; texts without choices are the default."""
    if kind == Time:
        return TIMES
    if get_origin(kind) is types.UnionType:
        return st.none() | values_of(get_args(kind)[0], key, default)
    if get_origin(kind) is list and (key.choices or kind != list[str]):
        entries = values_of(get_args(kind)[0], key, default)
        return st.lists(entries, min_size=1, max_size=3, unique=True)
    if get_origin(kind) is Literal or key.choices:
        return st.sampled_from(key.choices or get_args(kind))
    if kind is bool:
        return st.booleans()
    lowest = next((edge for edge in (key.at_least, key.above) if edge is not None), 0)
    highest = next((edge for edge in (key.at_most, key.below) if edge is not None), lowest + SPAN)
    if kind is int:
        return st.integers(int(lowest) + (key.above is not None), int(highest) - (key.below is not None))
    if kind is float:
        open_ = {"exclude_min": key.above is not None, "exclude_max": key.below is not None}
        return st.floats(lowest, highest, allow_subnormal=False, **open_)
    return st.just(default)


@st.composite
def section(draw: st.DrawFn, schema: type) -> dict[str, Any]:
    """Any values of a section's keys, in their ranges one by one."""
    kinds, blank, keys = get_type_hints(schema), vars(schema()), keys_of(schema)
    drawn = {key: draw(values_of(kinds[key], about, blank[key])) for key, about in keys.items()}
    return blank | drawn


@st.composite
def any_train(draw: st.DrawFn) -> dict[str, Any]:
    """Any training of few steps."""
    train = draw(section(SECTIONS["train"])) | {"batch_size": draw(st.integers(100, 300))}
    train["warmup_epochs"] = min(train["warmup_epochs"], train["epochs"])
    train["nesterov"] = train["nesterov"] and train["momentum"] > 0
    train["micro_batch"] = None if train["sync_bn"] else train["micro_batch"]
    train["lr_final"] = 0.0 if train["lr_schedule"] == "steps" else min(train["lr_final"], train["lr"])
    if train["lr_schedule"] == "onecycle" and not train["warmup_epochs"]:
        train["lr_schedule"] = "cosine"
    train["ema_decay"] = None if train["recalibrate"] else train["ema_decay"]
    return train


@st.composite
def any_params(draw: st.DrawFn) -> Params:
    """Any parameters of small runs on the digits that validate: up to three methods, of any stage.

    A method that fits no run of such a length stays outside the grid, where it is a section like any other.
    """
    data: dict[str, Any] = {name: draw(section(SECTIONS[name])) for name in SECTIONS} | {
        "train": draw(any_train())
    }
    data["dense"] = {"method": "dense"}
    data["grid"]["sparsities"] = [*dict.fromkeys(min(one, HIGHEST) for one in data["grid"]["sparsities"])]
    data["data"] |= {"train_size": draw(st.none() | st.integers(1, 1000)), "val_size": 0}
    networks = draw(st.sampled_from([[], ["element-0.5"], ["filter-0.0", "element-0.98"]]))
    data["grid"] |= {"datasets": ["digits"], "pretrain": networks, "export": networks[:1]}
    data["grid"] |= {name: [] for name in ("methods", "after", "reinit", "retrain")}
    for name in draw(st.lists(st.sampled_from(sorted(set(METHODS) - {"dense"})), max_size=3, unique=True)):
        data[name] = draw(section(section_schema(name)))
        if "m" in data[name]:  # of N:M, which has to divide the inputs of a layer of the network at hand
            data[name]["m"] = draw(st.sampled_from((2, 4, 8)))
    try:
        params = validate(data)
        for name in list(params.methods)[1:]:
            entries = getattr(params.grid, "after" if params.stage_of(name) == "after" else "methods")
            entries.append(name)
            if not fits(params):
                entries.remove(name)
    except UserError:
        reject()
    grid = params.grid
    grid.reinit, grid.retrain = grid.methods[:1], grid.methods[-1:]
    if not fits(params):
        reject()
    return params


def fits(params: Params) -> bool:
    """Whether every run of the grid can be trained."""
    try:
        check_grid(params)
    except UserError:
        return False
    return True
