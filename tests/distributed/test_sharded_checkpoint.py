import pytest
import torch

from genie.common.errors import UserError
from genie.runs.checkpoint_store import write_manifest
from genie.runs.loading import read_checkpoint
from genie.runs.sharded_checkpoint import META, StoredCheckpoint, rows, shard_name

WEIGHT = torch.arange(15.0).view(5, 3)


def checkpoint(weight):
    """The parts of a checkpoint that reading looks at."""
    return {"state_dict": {"weight": weight, "bias": torch.ones(2)}, "hyper_parameters": {"config": {}}}


@pytest.fixture
def folder(tmp_path):
    """A checkpoint of three ranks, of which the last one holds nothing of a weight with too few rows."""
    for rank, piece in enumerate((WEIGHT[:3], WEIGHT[3:], WEIGHT[:0])):
        torch.save({("state_dict", "weight"): piece.clone()}, tmp_path / shard_name(rank, 3))
    torch.save({"num_shards": 3, "checkpoint": checkpoint(None)}, tmp_path / META)
    write_manifest(tmp_path)
    return tmp_path


def test_a_folder_reads_like_a_file(folder, tmp_path):
    found, expected = read_checkpoint(folder), checkpoint(WEIGHT)
    assert torch.equal(found["state_dict"]["weight"], WEIGHT)
    assert torch.equal(found["state_dict"]["bias"], torch.ones(2)) and found.keys() == expected.keys()
    light = read_checkpoint(folder, peek=True)  # what was sharded has a shape, and is not read
    assert light["state_dict"]["weight"].is_meta and light["state_dict"]["weight"].shape == WEIGHT.shape
    assert light["hyper_parameters"] == expected["hyper_parameters"]


@pytest.mark.parametrize(("first", "last"), [(0, 5), (2, 4), (3, 5), (1, 2), (5, 5)])
def test_any_rows_come_from_any_pieces(folder, first, last):
    """One rank of any number of them reads its rows of a tensor, whoever wrote which."""
    pieces = StoredCheckpoint(folder).pieces("state_dict", "weight")
    assert torch.equal(rows(pieces, slice(first, last)), WEIGHT[first:last])
    assert torch.equal(rows([WEIGHT], slice(first, last)), WEIGHT[first:last])


def test_what_is_damaged_is_one_line(folder):
    def refused(words):
        with pytest.raises(UserError, match=words) as error:
            read_checkpoint(folder)
        assert "\n" not in str(error.value) and str(folder) in str(error.value)

    shard = folder / shard_name(1, 3)
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    refused(f"{shard.name} has changed")
    shard.unlink()
    refused(f"{shard.name} is missing")
    write_manifest(folder)  # as somebody else may write it
    refused(f"{shard.name} missing")
    shard.write_bytes(whole)
    torch.save({"num_shards": 3, "checkpoint": {"state_dict": {}}, "code": print}, folder / META)
    write_manifest(folder)
    refused("damaged")
    (folder / META).unlink()
    refused("there is no checkpoint")
