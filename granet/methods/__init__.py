"""Every method is a file of its own, whose function puts axes and a clock together. Time is counted in optimizer steps.

To add a method, add a file and its row in METHODS (docs/adding-a-method.md); if that takes a new ``if`` elsewhere, an
axis is missing. Defaults are those of each method's own paper, or of GraNet's experiments with it where its docstring
says so.
"""

from collections.abc import Callable

from granet.method import Method
from granet.methods.acdc import acdc
from granet.methods.bimp import bimp
from granet.methods.chase import chase
from granet.methods.cht import cht
from granet.methods.deep_r import deep_r
from granet.methods.dense import dense
from granet.methods.dpf import dpf
from granet.methods.dsr import dsr
from granet.methods.fixed import fixed
from granet.methods.force import force
from granet.methods.gmp import gmp
from granet.methods.gmp_original import gmp_original
from granet.methods.gmp_star import gmp_star
from granet.methods.granet import granet
from granet.methods.grasp import grasp
from granet.methods.gse import gse
from granet.methods.imp import imp
from granet.methods.iter_snip import iter_snip
from granet.methods.mest import mest
from granet.methods.obd import obd
from granet.methods.one_shot import one_shot
from granet.methods.parameters import INTERVAL, LAYER_SPARSITIES, TIME
from granet.methods.rigl import rigl
from granet.methods.rigl_nm import rigl_nm
from granet.methods.set import set_
from granet.methods.sis import sis
from granet.methods.small_dense import small_dense
from granet.methods.snfs import snfs
from granet.methods.snip import snip
from granet.methods.sr_ste import sr_ste
from granet.methods.srigl import srigl
from granet.methods.static import static
from granet.methods.str import str_
from granet.methods.synflow import synflow
from granet.methods.topkast import topkast

__all__ = ["INTERVAL", "LAYER_SPARSITIES", "METHODS", "TIME", "fixed"]


class Methods(dict[str, Callable[..., Method]]):
    """Every method by name. "fixed" is found here too, but is no row: no values make it, its masks are the caller's."""

    def __missing__(self, name: str) -> Callable[..., Method]:
        if name == "fixed":
            return fixed
        raise KeyError(name)


METHODS: dict[str, Callable[..., Method]] = Methods()
METHODS |= {
    "dense": dense,
    "static": static,
    "small_dense": small_dense,
    "snip": snip,
    "iter_snip": iter_snip,
    "force": force,
    "grasp": grasp,
    "synflow": synflow,
    "set": set_,
    "deep_r": deep_r,
    "dsr": dsr,
    "snfs": snfs,
    "rigl": rigl,
    "rigl_nm": rigl_nm,
    "srigl": srigl,
    "mest": mest,
    "topkast": topkast,
    "gse": gse,
    "cht": cht,
    "gmp": gmp,
    "gmp_original": gmp_original,
    "gmp_star": gmp_star,
    "acdc": acdc,
    "str": str_,
    "dpf": dpf,
    "sr_ste": sr_ste,
    "granet": granet,
    "chase": chase,
    "one_shot": one_shot,
    "obd": obd,
    "imp": imp,
    "bimp": bimp,
    "sis": sis,
}
