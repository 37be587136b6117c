"""An exported world goes to the Hugging Face Hub and comes back as it was, with a card that the Hub's library reads."""

import gymnasium
import pytest
import torch
from huggingface_hub import ModelCard, constants
from hydra import initialize_config_module
from hydra.core.global_hydra import GlobalHydra

from genie.common.cli import resolved
from genie.common.errors import RunError, UserError
from genie.common.files import read_json, to_json
from genie.common.hub import downloaded
from genie.export import main
from genie.publishing.export import export
from genie.runs.loading import fingerprint
from genie.world.opening import open_world
from genie.world.world_model import WorldModel

MEASURED = {"split": "test", "tokenizer": {"psnr": 41.2345, "psnr_copy_last": 20.0}, "lam": {"action_nmi": 0.5}}


@pytest.fixture
def upload(world_run, tmp_path):
    """upload(*overrides): exports the tiny world into a folder that is uploaded as me/pong; returns the folder."""

    def start(*overrides, hub="hub=me/pong", run=world_run):
        output = tmp_path / "exported"
        GlobalHydra.instance().clear()
        with initialize_config_module("conf", version_base="1.3"):
            config = resolved("export", [f"run={run}", f"output={output}", hub, "overwrite=true", *overrides])
        export(config)
        return output

    return start


@pytest.fixture
def token(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")


def test_a_world_comes_back_as_it_was(hub, token, upload, world_run):
    folder = upload("data_frames=100", "hub.private=true")
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert hub.files("me/pong") == files and hub.repositories["me/pong"].private
    assert {"README.md", "config.json", "data/test.h5", "dynamics.safetensors"} <= files.keys()
    world, trained = WorldModel.load("hf://me/pong"), WorldModel.load(world_run)
    assert world.fingerprint() == trained.fingerprint() and fingerprint(world.lam) == fingerprint(trained.lam)
    assert world.config["data"]["root"].startswith(constants.HF_HUB_CACHE)  # the frames beside it
    environment = gymnasium.make("genie.world.environment:genie/World-v0", run="hf://me/pong", horizon=2)
    frame, _ = environment.reset(seed=0)
    assert frame.shape == (64, 64, 3) and environment.step(0)[0].shape == (64, 64, 3)


def test_what_an_earlier_export_left_goes_and_other_files_stay(hub, token, upload):
    upload()
    others = {"video.mp4": b"mine", "old/lam.safetensors": b""}
    left = {"policy.safetensors": b"of another world", "data/val.h5": b"old"}
    hub.repositories["me/pong"].add("main", hub.files("me/pong") | left | others)
    upload()
    assert others.keys() < hub.files("me/pong").keys() and not left.keys() & hub.files("me/pong").keys()


def test_branches_and_folders(hub, token, upload):
    folder = upload("hub.revision=v2", hub="hub=me/worlds/pong")
    assert hub.files("me/worlds") == {}
    assert "pong/dynamics.safetensors" in hub.files("me/worlds", "v2")
    assert "run=hf://me/worlds@v2/pong" in (folder / "README.md").read_text()
    assert isinstance(open_world("hf://me/worlds@v2/pong"), WorldModel)


def test_a_dry_run_needs_neither_network_nor_token(hub, upload, monkeypatch, capsys):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    folder = upload("hub.dry_run=true", "license=apache-2.0")
    printed = capsys.readouterr().out
    for file in folder.rglob("*.*"):
        assert f" {file.relative_to(folder)} " in printed
    assert "MiB" in printed and "nothing was uploaded" in printed and hub.requests == []
    assert ModelCard.load(folder / "README.md").data.license == "apache-2.0"


def test_the_card_is_read_by_the_librarys_own_reader(hub, upload, world_run, tmp_path):
    import shutil

    run = shutil.copytree(world_run, tmp_path / "run", ignore=shutil.ignore_patterns("evaluation"))
    (run / "evaluation").mkdir()
    (run / "evaluation" / "evaluation.json").write_text(to_json(MEASURED))
    figures = "figures=[tokenizer.psnr,tokenizer.psnr_copy_last,lam.action_nmi,fvd.value]"
    folder = upload("hub.dry_run=true", "license=mit", "datasets=[me/frames,me/more]", figures, run=run)
    card = ModelCard.load(folder / "README.md")
    data = card.data
    assert (data.library_name, data.license, data.pipeline_tag) == ("genie-world", "mit", "image-to-video")
    assert {"world-model", "genie"} <= {*data.tags} and data.datasets == ["me/frames", "me/more"]
    results = {result.metric_type: result for result in data.eval_results}
    assert {name: result.metric_value for name, result in results.items()} == {
        "tokenizer.psnr": 41.23,
        "lam.action_nmi": 0.5,
    }
    psnr = results["tokenizer.psnr"]
    assert (psnr.metric_name, psnr.dataset_type, psnr.dataset_split) == ("PSNR (dB)", "me/frames", "test")
    assert "| tokenizer.psnr | 41.23 |" in card.text and "| tokenizer.psnr_copy_last | 20 |" in card.text
    assert read_json(folder / "evaluation" / "evaluation.json") == MEASURED
    assert ModelCard(str(card)).data.to_dict() == data.to_dict()


def test_what_the_hub_refuses_is_one_line(hub, upload, monkeypatch, world_run):
    import fake_hub

    with pytest.raises(UserError, match="there is no token to upload with: log in"):
        upload()
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(UserError, match="your token gives no access"):
        upload()
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with pytest.raises(UserError, match='refuses the model card .*"license" must be one of'):
        upload("license=apache2")
    with pytest.raises(UserError, match="refuses access .*your token gives no access"):
        upload(hub="hub=you/pong")
    hub.repositories["me/public"] = fake_hub.Repository()
    with pytest.raises(UserError, match="hub.private=true, but me/public is public already"):
        upload("hub.private=true", hub="hub=me/public")
    assert hub.files("me/public") == {} and "you/pong" not in hub.repositories
    fake_hub.point_to(monkeypatch, "http://127.0.0.1:1")
    with pytest.raises(RunError, match="transfer from or to http://127.0.0.1:1 failed .*give overwrite=true"):
        upload()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("hub=pong", "must be user/name"),
        ("hub=me/po--ng", "--"),
        ("hub=me/pong/lam.safetensors", "names a file"),
        ("hub=me/pong@v1 hub.revision=v2", "two revisions"),
        ("hub=me/pong", "no token"),
        ("hub=me/pong hub.private=maybe", "hub.private=maybe must be true or false"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(hub, run_main, world_run, tmp_path, given, words):
    code, out, err = run_main(main, f"run={world_run}", f"output={tmp_path}/out", *given.split())
    assert code == 2 and out == "" and words in err and err.count("\n") == 1, err
    assert not (tmp_path / "out").exists() and hub.requests == []


def test_frames_are_the_same_from_the_cache_without_a_network(hub, token, upload, monkeypatch):
    upload("data_frames=100")
    frames = []
    for offline in (False, True):
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
        downloaded.cache_clear()
        world = WorldModel.load("hf://me/pong")
        state = world.reset(torch.linspace(0, 1, 3 * 64 * 64).view(1, 1, 3, 64, 64), seed=1)
        frames.append(world.step(state, torch.tensor([1]))[1].observation)
    assert torch.equal(*frames)
