"""Devices of torch: the CPU, or an available accelerator."""

import torch
from torch import Tensor, nn

from micronas.errors import ConfigError
from micronas.train.recipe import Device


def find_device(device: Device) -> torch.device:
    """Return the device of this name; ``auto`` is an accelerator if there is one.

    Raises ConfigError if it is not available.
    """
    here = devices()
    if device == "auto":
        return torch.device(here[0])
    if str(device) not in here:  # a torch.device is taken, too
        raise ConfigError(
            f"device must be one that torch finds here, {', '.join(here)} or auto, but got "
            f"{device}; leave it out for the CPU"
        )
    return torch.device(device)


def describe_device(device: Device) -> str:
    """Return a line about the chosen device and the reason."""
    taken = find_device(device)
    if device == "auto" and taken.type == "cpu":
        return "device: cpu, since torch finds no accelerator"
    name = torch.cuda.get_device_name() if taken.type == "cuda" else taken.type
    reason = "the first that torch finds" if device == "auto" else "from the settings"
    return f"device: {name}, {reason}; its last bits differ from a CPU's"


def device_of(module: nn.Module) -> torch.device:
    """Return the device of a module's parameters; the CPU if it has none."""
    return next((each.device for each in module.parameters()), torch.device("cpu"))


def moved(tensors: tuple[Tensor, ...], device: torch.device) -> tuple[Tensor, ...]:
    """Return tensors on a device; nothing waits for the copies."""
    if device.type == "cuda":
        tensors = tuple(each.pin_memory() for each in tensors)
    return tuple(each.to(device, non_blocking=True) for each in tensors)


def devices() -> list[str]:
    """Return the names of available devices, an accelerator first."""
    accelerators = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    return [*(name for name, is_here in accelerators.items() if is_here), "cpu"]
