"""Which settings help a run that does not fit into the memory."""

from typing import Any

import torch

CPU_MESSAGES = ("can't allocate memory", "not enough memory", "Cannot allocate memory")  # of torch and of the system
MOST_SETTINGS = 3


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there is no memory left, on a GPU or for the process."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError | OSError) and any(words in str(error) for words in CPU_MESSAGES)
    )


def remedies(config: dict[str, Any], num_devices: int) -> list[str]:
    """Overrides that lower the memory of a training of this configuration, what costs least first; at most three.

    `num_devices`: GPUs that the machine has.
    """
    data, trainer = config["data"], config["trainer"]
    size, accumulate = data["batch_size"], trainer["accumulate"]
    found = []
    if size > 1:
        found.append(f"data.batch_size={size // 2} trainer.accumulate={accumulate * -(-size // (size // 2))}")
    if not trainer["activation_checkpointing"]:
        found.append("trainer.activation_checkpointing=true")
    if num_devices > 1 and "fsdp" not in str(trainer["strategy"]):
        found.append("trainer=fsdp")
    if trainer["precision"] == "32-true":
        found.append("trainer.precision=bf16-mixed")
    if num_devices and not config["optimizer"]["cpu_offload"]:
        found.append("optimizer.cpu_offload=true")
    if data["num_frames"] > 2:
        found.append(f"data.num_frames={max(2, data['num_frames'] // 2)}")
    if size <= 1:
        found.append("a smaller model=")
    return found[:MOST_SETTINGS]


def advice(config: dict[str, Any]) -> str:
    """One line: what ran out, and what helps."""
    devices = torch.cuda.device_count()
    return f"out of memory: give {', or '.join(remedies(config, devices))} (with resume=true the run goes on)"
