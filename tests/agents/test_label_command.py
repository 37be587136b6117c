"""`python -m genie.label_curve`, with a world, a policy and the real game."""

import json

import pytest
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from genie.agents import play_episodes
from genie.agents.collect import episode_returns
from genie.label_curve import main


@pytest.fixture(scope="module")
def policy(tmp_path_factory, world_run, pong_root):
    """Folder of a policy of the run `world_run`, two steps trained."""
    from genie.training.train import train

    overrides = ["stage=policy", "policy=latent_bc", "debug=fast", "trainer.max_steps=2", f"stage.world={world_run}"]
    GlobalHydra.instance().clear()
    with initialize_config_module("conf", version_base="1.3"):
        folder = tmp_path_factory.mktemp("policy")
        config = compose("train", [*overrides, f"data.root={pong_root}", f"output_dir={folder}", "name=clone"])
    train(OmegaConf.to_container(config, resolve=True))
    return folder / "clone" / "policy"


def test_the_curve_holds_real_returns_beside_random_play_and_the_expert(
    policy, world_run, pong_root, run_main, tmp_path, monkeypatch
):
    from genie.agents import label_curve

    played = []

    def play(environments, agent, seeds, longest, repeat):
        assert longest == 40
        episodes = play_episodes(environments, agent, seeds, longest, repeat)
        played.append([episode.return_ for episode in episodes])
        return episodes

    monkeypatch.setattr(label_curve, "play_episodes", play)
    settings = ["labels=[20,5]", "draws=2", "episodes=2", "max_steps=40", "device=cpu", f"output={tmp_path}"]
    code, out, err = run_main(main, f"run={world_run}", f"checkpoint={policy}", *settings)
    assert code == 0, err
    found = json.loads((tmp_path / "label_curve.json").read_text())
    assert list(found) == ["random", "expert", "5 labels", "20 labels"]
    assert [*found["random"], *found["20 labels"], *found["5 labels"]] == played and len(played) == 6
    files = [pong_root / f"{split}.h5" for split in ("train", "val", "test")]
    assert found["expert"] == [total for path in files for total in episode_returns(path, longest=40)]
    assert (tmp_path / "label_curve.png").stat().st_size > 1000 and "20 labels" in out
