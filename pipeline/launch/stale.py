"""What DVC finds out of date. It imports DVC alone: where nothing is, a launch ends before torch has been imported."""

import logging
from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from typing import Any

Needs = Mapping[str, frozenset[str]]
"""Stage -> the stages whose outputs it reads."""
Pipeline = tuple[Needs, set[str]]
"""All stages with what each needs, and those that are out of date by themselves."""
NOTHING = "nothing to do: all stages are up to date"


def look() -> Pipeline:
    """The pipeline as `dvc status` sees it. Raises what DVC raises."""
    from dvc.repo import Repo

    parse_once()
    logging.getLogger("dvc").setLevel(logging.ERROR)  # it warns when it tidies up after a killed process
    with Repo(_wait_for_lock=True) as repo:
        graph = repo.index.graph  # edges lead from a stage to what it needs
        needs = {
            stage.addressing: frozenset(needed.addressing for needed in graph.successors(stage))
            for stage in graph
        }
        return needs, set(repo.status())


@cache
def parse_once() -> None:
    """From now on DVC parses a text of YAML once in this process: it reads params.yaml for every stage anew.

    Whoever gets the parsed text may change it.
    """
    from dvc.utils import strictyaml
    from dvc.utils.serialize import _yaml

    plain, known = _yaml.parse_yaml, dict[str, Any]()

    def parse(text: str, path: str, typ: str = "safe") -> Any:
        if typ != "safe":
            return plain(text, path, typ)
        if text not in known:
            known[text] = plain(text, path)
        return deepcopy(known[text])

    _yaml.parse_yaml = strictyaml.parse_yaml = parse
