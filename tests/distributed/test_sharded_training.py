"""FSDP2 in two processes is DDP in two processes, and a checkpoint of each goes on in all others."""

import pytest
import torch
from hydra.core.global_hydra import GlobalHydra

from genie.runs.loading import load_model, read_checkpoint
from genie.runs.metrics_file import read_metrics
from genie.runs.sharded_checkpoint import META
from genie.training.train import train

STAGES = ("tokenizer", "lam", "dynamics", "cotrain")


def losses(folder, name, stage="tokenizer"):
    return [row["train/loss"] for row in read_metrics(folder / name / stage / "metrics.csv") if "train/loss" in row]


def last(folder, name, stage="tokenizer"):
    return folder / name / stage / "checkpoints" / "last.ckpt"


def same(ours, theirs, tolerance=0.0):
    """Whether two containers have the same keys and values, tensors up to a relative tolerance."""
    if isinstance(ours, dict):
        return ours.keys() == theirs.keys() and all(same(ours[key], theirs[key], tolerance) for key in ours)
    if isinstance(ours, list | tuple):
        return len(ours) == len(theirs) and all(map(lambda a, b: same(a, b, tolerance), ours, theirs))
    if isinstance(ours, torch.Tensor):
        return ours.dtype == theirs.dtype and torch.allclose(ours, theirs, rtol=tolerance, atol=tolerance)
    return ours == theirs


@pytest.mark.parametrize("stage", STAGES)
def test_twenty_steps_are_those_of_ddp_bit_for_bit(pair, stage):
    folder, _ = pair
    expected, found = (losses(folder, name, stage) for name in ("ddp", "fsdp"))
    assert len(expected) == 20 and found == expected
    assert expected[-1] < expected[0]
    ours, theirs = (read_checkpoint(last(folder, name, stage)) for name in ("fsdp", "ddp"))
    for part in ("state_dict", "optimizer_states", "lr_schedulers"):
        assert same(ours[part], theirs[part]), part
    figures = [
        {name: value for row in read_metrics(folder / run / stage / "metrics.csv") for name, value in row.items()}
        for run in ("fsdp", "ddp")
    ]
    assert figures[0] == figures[1] and any(name.startswith("val/") for name in figures[0])


def test_muon_takes_the_steps_of_ddp_bit_for_bit(pair):
    """Each rank steps from the whole of a momentum; also from main memory, and when a run goes on with the other."""
    folder, _ = pair
    expected = losses(folder, "ddp_muon")
    assert len(expected) == 3 and expected != losses(folder, "ddp")[:3]
    assert expected == losses(folder, "muon") == losses(folder, "thrifty_muon")
    ours, theirs = (read_checkpoint(last(folder, name)) for name in ("muon", "ddp_muon"))
    for part in ("state_dict", "optimizer_states"):
        assert same(ours[part], theirs[part]), part
    assert any("momentum_buffer" in state for state in ours["optimizer_states"][0]["state"].values())
    longer = losses(folder, "resumed_muon")
    assert len(longer) == 6 and longer == losses(folder, "ddp_resumed_muon")


def test_sharded_weights_start_where_others_do_and_are_shared_evenly(pair):
    for results in pair[1]:
        for stage, found in results["initial"].items():
            assert found["equal"], stage
            assert 0.4 < found["share"] < 0.6, stage


def test_codebooks_are_whole_and_writable_in_a_forward_pass(pair):
    for results in pair[1]:
        assert results["codebook"] == {"same": True, "codebook": True, "kept": ["Parameter"], "pictures": False}


@pytest.mark.parametrize("name", ["folder_to_folder", "folder_to_file", "folder_to_ddp", "file_to_folder"])
def test_the_same_number_of_processes_goes_on_bit_for_bit(pair, name):
    folder, _ = pair
    assert losses(folder, name) == losses(folder, "ddp")[:6]


def test_a_run_of_one_process_goes_on_sharded_and_the_other_way_round(pair, small):
    folder, _ = pair
    GlobalHydra.instance().clear()
    train(small(f"output_dir={folder}", "name=single", "trainer.max_steps=6", "resume=true"))
    reference = read_checkpoint(last(folder, "single"))
    GlobalHydra.instance().clear()
    train(small(f"output_dir={folder}", "name=folder", "trainer.max_steps=6", "resume=true"))
    for name in ("single_to_fsdp", "folder"):
        found = read_checkpoint(last(folder, name))
        assert found["global_step"] == 6
        for part in ("state_dict", "optimizer_states"):
            assert same(found[part], reference[part], tolerance=1e-5), (name, part)


def test_a_sharded_checkpoint_is_a_folder_that_loads_in_one_process(pair):
    folder, results = pair
    assert results[0]["folder"] == ["manifest.json", META, "shard-00001-of-00002.pt", "shard-00002-of-00002.pt"]
    assert results[0]["steps"] == results[1]["steps"] == 6
    path = last(folder, "folder_to_folder")
    ours, theirs = load_model(path), load_model(last(folder, "folder_to_file"))
    assert same(dict(ours.state_dict()), dict(theirs.state_dict()))
    assert not list(path.parent.glob(".*.tmp-*"))


def test_activation_checkpointing_and_offloading_change_no_bit(pair):
    folder, _ = pair
    assert losses(folder, "thrifty") == losses(folder, "ddp")[:2]


def test_bf16_is_that_of_ddp(pair):
    folder, _ = pair
    assert losses(folder, "mixed") == losses(folder, "ddp_mixed")
    assert losses(folder, "pure") == losses(folder, "ddp_pure")
    assert losses(folder, "gather") == pytest.approx(losses(folder, "mixed"), rel=0.02)
    exact = losses(folder, "ddp")[:2]
    for name in ("mixed", "pure", "gather"):
        assert losses(folder, name) != exact and losses(folder, name) == pytest.approx(exact, rel=0.05)
    kinds = {value.dtype for value in read_checkpoint(last(folder, "pure"))["state_dict"].values()}
    assert torch.bfloat16 in kinds and torch.float32 in kinds  # the head before the quantiser stays exact


def test_parts_that_do_not_run_and_accumulated_gradients(pair):
    """In its first steps the encoder of a latent action model has no gradient."""
    folder, _ = pair
    assert len(losses(folder, "free", "lam")) == 4
    state = read_checkpoint(last(folder, "free", "lam"))["optimizer_states"][0]
    names = {
        number: name
        for group in state["param_groups"]
        for number, name in zip(group["params"], group["param_names"], strict=True)
    }
    steps = {names[number]: int(entry["step"]) for number, entry in state["state"].items()}
    assert steps["decoder.blocks.0.spatial.qkv.weight"] == 4 and steps["encoder.blocks.0.spatial.qkv.weight"] == 2
