"""Methods as a communication hook of ``torch.nn.parallel.DistributedDataParallel``."""

from simgmc.distributed.ddp.hook import MethodHook as MethodHook
