"""Device profiles: peak rates that manufacturers publish, for compute times nobody measured.

A profile gives a gradient's time as its floating-point operations over ``flops`` times a
stated efficiency, and compression and aggregation as bytes read over ``memory_bandwidth``
times the same efficiency. Real training reaches a fraction of a peak: the efficiency is
the user's statement and has no default.
"""

from __future__ import annotations

from dataclasses import dataclass

from simgmc.core.registry import Entry, Registry


@dataclass(frozen=True)
class Device(Entry):
    """Peak rates of one device."""

    flops: float = 0.0
    """Single-precision floating-point operations per second."""
    memory_bandwidth: float = 0.0
    """Bytes per second."""


def _device(name: str, flops: float, memory_bandwidth: float, source: str) -> Device:
    return Device(
        name, f"{flops / 1e12:g} TFLOP/s, {memory_bandwidth / 1e9:g} GB/s", source, {}, flops, memory_bandwidth
    )


DEVICES: Registry[Device] = Registry(
    "device",
    (
        _device("nvidia-t4", 8.1e12, 320e9, "NVIDIA T4 data sheet, 2019: 8.1 TFLOPS FP32, 320 GB/s"),
        _device("nvidia-v100", 15.7e12, 900e9, "NVIDIA V100 SXM2 data sheet, 2020: 15.7 TFLOPS FP32, 900 GB/s"),
        _device("nvidia-a100", 19.5e12, 1555e9, "NVIDIA A100 40GB SXM data sheet, 2021: 19.5 TFLOPS FP32, 1,555 GB/s"),
        _device("nvidia-h100", 67e12, 3350e9, "NVIDIA H100 SXM data sheet, 2023: 67 TFLOPS FP32, 3.35 TB/s"),
        _device(
            "jetson-nano",
            0.236e12,
            25.6e9,
            "NVIDIA Jetson Nano data sheet, 2019: 0.472 TFLOPS FP16, taken as half in FP32, 25.6 GB/s",
        ),
    ),
    listed="devices",
)
