"""Methods of distributed training: each a worker's program that reads like its paper.

``ALGORITHMS`` maps the name used in scenario files to the class; one's own by import path too. Nothing here
imports torch: programs only do arithmetic on the tensors they are given.
May import compression, costs and core.
"""

from typing import Any

from simgmc.algorithms import (
    asynchronous_server,
    compressed_adam,
    cser,
    dgc,
    error_feedback,
    gmc,
    gossip,
    gossip_compressed,
    local,
    pairwise,
    quantized,
    sgd,
)
from simgmc.algorithms.algorithm import Algorithm
from simgmc.compression.compressor import Compressor
from simgmc.core.declared import require_class
from simgmc.core.registry import Entry, Registry

_OURS: dict[str, type[Algorithm]] = {
    "data-parallel": sgd.DataParallel,
    "sgd": sgd.SGD,
    "dmsgd": sgd.DMSGD,
    "sngm": sgd.SNGM,
    "lars": sgd.LARS,
    "gmc": gmc.GMC,
    "gmc+": gmc.GMCPlus,
    "gmc-server-momentum": gmc.GMCServerMomentum,
    "gmc-scaled-residual": gmc.GMCScaledResidual,
    "dgc": dgc.DGC,
    "ef": error_feedback.EF,
    "ef21": error_feedback.EF21,
    "ef-sgdm": error_feedback.EFSGDM,
    "saef": error_feedback.SAEF,
    "def": error_feedback.DEF,
    "def-a": error_feedback.DEFA,
    "ef-signsgd": error_feedback.EFSignSGD,
    "doublesqueeze": error_feedback.DoubleSqueeze,
    "1-bit-adam": compressed_adam.OneBitAdam,
    "0-1-adam": compressed_adam.ZeroOneAdam,
    "cser": cser.CSER,
    "m-cser": cser.MCSER,
    "qsgd": quantized.QSGD,
    "terngrad": quantized.TernGrad,
    "signsgd": quantized.SignSGD,
    "signum": quantized.Signum,
    "powersgd": quantized.PowerSGD,
    "local-sgd": local.LocalSGD,
    "post-local-sgd": local.PostLocalSGD,
    "pr-sgd-momentum": local.PRSGDMomentum,
    "qsparse-local-sgd": local.QsparseLocalSGD,
    "quantized-pr-sgd": local.QuantizedPRSGD,
    "overlap-local-sgd": local.OverlapLocalSGD,
    "slowmo": local.SlowMo,
    "diloco": local.DiLoCo,
    "swarm-sgd": pairwise.SwarmSGD,
    "swarm-sgd-non-blocking": pairwise.NonBlockingSwarmSGD,
    "pop-sgd": pairwise.PopSGD,
    "ad-psgd": pairwise.ADPSGD,
    "osgp": gossip.OverlapSGP,
    "async-sgd": asynchronous_server.AsyncSGD,
    "staleness-aware-sgd": asynchronous_server.StalenessAwareSGD,
    "stale-synchronous-sgd": asynchronous_server.StaleSynchronousSGD,
    "adsaga": asynchronous_server.ADSAGA,
    "d-psgd": gossip.DPSGD,
    "dmsgd-gossip": gossip.DmSGD,
    "pd-sgdm": gossip.PDSGDM,
    "decentlam": gossip.DecentLaM,
    "qg-dsgdm": gossip.QGDSGDm,
    "sgp": gossip.SGP,
    "choco-sgd": gossip_compressed.ChocoSGD,
    "cpd-sgdm": gossip_compressed.CPDSGDM,
    "dcd-psgd": gossip_compressed.DCDPSGD,
    "ecd-psgd": gossip_compressed.ECDPSGD,
    "lead": gossip_compressed.LEAD,
    "quantized-pr-sgd-gossip": gossip_compressed.QuantizedPRSGDGossip,
}


def _own(name: str, found: Any) -> type[Algorithm]:
    require_class(name, found, Algorithm, "round")
    found.options()  # fields that are none are refused here
    return found


ALGORITHMS: Registry[type[Algorithm]] = Registry("algorithm", _OURS, _own, "simgmc.algorithms", listed="algorithms")


ENTRIES: Registry[Entry] = Registry(
    "algorithm",
    [cls.entry(name) for name, cls in ALGORITHMS.items()],
    lambda name, found: _own(name, found).entry(name),
    ALGORITHMS.group,
    listed=ALGORITHMS.listed,
)
"""The algorithms as ``simgmc list`` shows them."""


__all__ = ["ALGORITHMS", "Algorithm", "Compressor"]
