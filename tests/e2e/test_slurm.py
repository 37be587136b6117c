"""launcher=slurm and the batch script, with stand-ins for SLURM's own programs: jobs are processes of this machine."""

import json
import os
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="pip install 'genie-world[slurm]'")

ROOT = Path(__file__).parents[2]
# sbatch starts the script of a job, whose srun starts its command; sacct knows that all is over
SBATCH = """#!/bin/bash
script="${@: -1}"
cp "$script" "$FAKE/script.sh"
number=$(($(cat "$FAKE/number" 2>/dev/null || echo 100) + 1))
echo $number > "$FAKE/number"
export SLURM_JOB_ID=$number SLURM_JOB_NAME=train SLURM_NTASKS=1 SLURM_NTASKS_PER_NODE=1 SLURM_JOB_NUM_NODES=1
export SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NODEID=0 SLURM_JOB_NODELIST=localhost
tasks=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\).*/\\1/p' "$script")
(for task in $(seq 0 "${tasks:-0}"); do
  [ -n "$tasks" ] && export SLURM_ARRAY_JOB_ID=$number SLURM_ARRAY_TASK_ID=$task
  bash "$script"
done) > "$FAKE/out.log" 2>&1 &
echo "Submitted batch job $number"
"""
SRUN = """#!/bin/bash
while [[ "$1" == --* ]]; do case "$1" in --output|--error) shift 2;; *) shift;; esac; done
exec "$@"
"""


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """The folder in which the stand-ins keep what they were given."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in {"sbatch": SBATCH, "srun": SRUN, "sacct": "#!/bin/bash\n", "scontrol": "#!/bin/bash\n"}.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE", str(tmp_path))
    return tmp_path


TINY = ("stage=tokenizer", "debug=fast", "trainer=cpu", "launcher=slurm", "hydra.launcher.setup=null")


def test_a_single_run_is_a_job_and_trains_into_its_run_folder(slurm, run, pong_root):
    options = ["hydra.launcher.partition=fast", "hydra.launcher.timeout_min=7", f"data.root={pong_root}"]
    process = run(slurm, "-m", "genie.train", *TINY, *options)
    assert process.returncode == 0, process.stdout + process.stderr
    folder = slurm / "outputs" / "debug" / "tokenizer"
    assert (folder / "checkpoints" / "last.ckpt").exists()
    command = json.loads((folder / "run.json").read_text())["starts"][-1]["command"]
    assert command.startswith("python -m genie.train stage=tokenizer debug=fast")  # not submitit's
    script = (slurm / "script.sh").read_text()
    lines = ["partition=fast", "time=7", "nodes=1", "ntasks-per-node=1", "job-name=debug-tokenizer"]
    for line in (*lines, "requeue", "signal=USR1@120"):
        assert f"#SBATCH --{line}\n" in script
    assert "gpus" not in script  # trainer=cpu


def test_the_batch_script_starts_each_process_with_its_arguments(slurm):
    (slurm / "bin" / "srun").write_text('#!/bin/bash\nSLURM_PROCID=9 SLURM_LOCALID=1 "$@"\n')
    (slurm / "bin" / "scontrol").write_text("#!/bin/bash\necho first\necho second\n")
    words = ["TORCHELASTIC_RUN_ID", "RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR"]
    shown = "".join(f'echo "{word}=${word}"\n' for word in words)
    (slurm / "bin" / "python").write_text(f'#!/bin/bash\n{shown}printf "%s\\n" "$@"\n')
    (slurm / "bin" / "python").chmod(0o755)
    given = {"NTASKS": "32", "JOB_NUM_NODES": "4", "NTASKS_PER_NODE": "8", "JOB_ID": "77", "JOB_NODELIST": "node[1-4]"}
    environment = os.environ | {f"SLURM_{name}": value for name, value in given.items()}
    command = ["bash", str(ROOT / "docs" / "train.sbatch"), "stage=dynamics", "name=a b"]
    process = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert process.returncode == 0, process.stderr
    lines = process.stdout.splitlines()
    values = ("77", "9", "1", "32", "8", "first")
    assert lines[:6] == [f"{word}={value}" for word, value in zip(words, values, strict=True)]
    assert lines[6:8] == ["-m", "genie.train"] and lines[-2:] == ["stage=dynamics", "name=a b"]
    assert {"launcher=torchrun", "trainer.num_nodes=4", "trainer.devices=8", "resume=true"} <= {*lines}
