"""`python -m genie.label_curve`, with a world, a policy and the real game."""

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from genie.agents import play_episodes
from genie.agents.collect import episode_returns
from genie.agents.label_curve import labelled_clips
from genie.label_curve import main
from genie.world.opening import open_world


@pytest.fixture(scope="module")
def cloned(tmp_path_factory, world_run, pong_root):
    """cloned(*overrides): folder of a policy of the run `world_run`, two steps trained."""
    from genie.training.train import train

    def make(*overrides):
        given = ["stage=policy", "debug=fast", "trainer.max_steps=2", f"stage.world={world_run}", *overrides]
        GlobalHydra.instance().clear()
        with initialize_config_module("conf", version_base="1.3"):
            folder = tmp_path_factory.mktemp("policy")
            config = compose("train", [*given, f"data.root={pong_root}", f"output_dir={folder}", "name=clone"])
        train(OmegaConf.to_container(config, resolve=True))
        return folder / "clone" / "policy"

    return make


@pytest.fixture(scope="module")
def policy(cloned):
    return cloned("policy=latent_bc")


def test_the_curve_holds_real_returns_beside_random_play_and_the_expert(
    policy, cloned, world_run, pong_root, run_main, tmp_path, monkeypatch
):
    from genie.agents import label_curve

    played, players = [], []

    def play(environments, agent, seeds, longest, repeat, **calls):
        assert longest == 40
        players.append(agent)
        episodes = play_episodes(environments, agent, seeds, longest, repeat, **calls)
        played.append([episode.return_ for episode in episodes])
        return episodes

    monkeypatch.setattr(label_curve, "play_episodes", play)
    settings = ["labels=[20,5]", "draws=2", "episodes=2", "max_steps=40", "device=cpu", f"output={tmp_path}"]
    settings.append(f"oracle={cloned('policy=behaviour_cloning', 'policy.num_actions=3')}")
    code, out, err = run_main(main, f"run={world_run}", f"checkpoint={policy}", *settings)
    assert code == 0, err
    found = json.loads((tmp_path / "label_curve.json").read_text())
    assert list(found) == ["random", "expert", "oracle", "5 labels", "20 labels"]
    order = ("random", "oracle", "20 labels", "5 labels")
    assert [returns for name in order for returns in found[name]] == played and len(played) == 8
    files = [pong_root / f"{split}.h5" for split in ("train", "val", "test")]
    assert found["expert"] == [total for path in files for total in episode_returns(path, longest=40)]
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert set(summary["returns"]) == {"random", "expert", "oracle", "labels_5", "labels_20"} and "date" in summary
    assert summary["returns"]["labels_5"]["mean"] == pytest.approx(np.mean(found["5 labels"]))
    assert summary["returns"]["labels_5"]["episodes"] == 4
    true = [player.choose.__self__.gives_environment_actions for player in players[2:]]  # after random play
    assert true == [True, True, False, False, False, False]
    assert (tmp_path / "label_curve.png").stat().st_size > 1000 and "20 labels" in out


def test_an_oracle_knows_the_true_actions(policy, world_run, run_main, tmp_path):
    code, _, err = run_main(main, f"run={world_run}", f"policy={policy}", f"oracle={policy}", f"output={tmp_path}")
    assert code == 2 and "is a policy of latent actions: give one of policy=behaviour_cloning" in err


@pytest.mark.parametrize("kind", ["labelled", "without actions", "gone"])
def test_labels_are_the_experts_where_it_has_any(kind, pong_root, world_run, tmp_path, capsys):
    own = open_world(str(world_run)).config["data"] | {"root": str(pong_root)}
    expert = tmp_path / "expert"
    if kind != "gone":
        shutil.copytree(pong_root, expert)
        for path in expert.glob("*.h5"):
            with h5py.File(path, "r+") as file:
                if kind == "without actions":
                    del file["actions"]
    clips = labelled_clips(own, expert)
    used = expert if kind == "labelled" else pong_root
    assert Path(clips.reader.path).is_relative_to(used) and f"drawn from {used}" in capsys.readouterr().out
    assert Path(labelled_clips(own, None).reader.path).is_relative_to(pong_root)
