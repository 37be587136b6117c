"""What presets take, by `genie.plan_memory`: `python -m docs.costs` writes docs/results/costs.json (three minutes),
`python -m docs.costs coinrun_small` one of its entries anew.

The tables of docs/presets.md are written from this file by `python -m docs.tables`.
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from docs.result_files import FOLDER
from genie.common.files import read_json, replacing, to_json
from genie.common.profiling import now

H100, RTX4090 = "hardware=h100 trainer=gpu", "hardware=rtx4090 trainer=gpu"
CHECKPOINTING = "trainer.activation_checkpointing=true"
PLANS = {  # overrides of the training
    "debug": f"model=debug {H100}",
    "minatar": f"experiment=minatar_breakout {H100}",
    "pong_demo": f"experiment=demo {H100}",
    "pong": f"experiment=pong {H100}",
    "coinrun_small": f"experiment=coinrun {H100}",
    "coinrun": f"model=coinrun data=coinrun {H100} {CHECKPOINTING}",
    "pong_notes": f"experiment=pong_notes {H100}",
    "paper": f"model=paper hardware=h100 trainer=fsdp trainer.devices=256 {CHECKPOINTING}",
    # the same on smaller GPUs
    "coinrun_24gb": f"model=coinrun data=coinrun {RTX4090} {CHECKPOINTING}",
    "coinrun_8gb": f"model=coinrun data=coinrun {RTX4090} data.batch_size=2 trainer.accumulate=18",
    "pong_notes_4gb": f"experiment=pong_notes {RTX4090} {CHECKPOINTING}",
}
STAGES = ("tokenizer", "lam", "dynamics")


def planned(overrides: str) -> dict[str, Any]:
    """Parameters and steps of each stage; of the stage that takes the most memory, the bytes on a device; operations
    and hours of all three."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "plan.json")
        command = [sys.executable, "-m", "genie.plan_memory", *overrides.split(), f"json={file}"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        plan = read_json(file)
    assert plan is not None
    stages = {stage: plan["stages"][stage] for stage in STAGES}
    return {
        "command": f"python -m genie.plan_memory {overrides}",
        "devices": stages["dynamics"]["layout"]["devices"],
        "memory": max(stage["memory"]["total"] for stage in stages.values()),
        "operations": sum(stage["work"]["training"] for stage in stages.values()),
        "seconds": sum(stage["work"]["seconds"] for stage in stages.values()),
        **{name: {key: stage[key] for key in ("parameters", "steps")} for name, stage in stages.items()},
    }


def main() -> None:
    file = FOLDER / "costs.json"
    names = sys.argv[1:]
    if unknown := [name for name in names if name not in PLANS]:
        sys.exit(f"python -m docs.costs: {unknown[0]} is none of {', '.join(PLANS)}")
    plans = (read_json(file) or {}) if names else {}
    for name in names or PLANS:
        print(name, flush=True)
        plans[name] = planned(PLANS[name])
    with replacing(file, "w", encoding="utf-8") as new:
        new.write(to_json(plans | {"date": now()[:10]}))


if __name__ == "__main__":
    main()
