"""Metrics are found by their paths and by the names under which they are logged, and so is what is better."""

import re

import pytest

from genie.common.errors import UserError
from genie.evaluation.catalogue import chosen_direction, direction, evaluated_metrics, find, training_metrics
from genie.evaluation.parts import PARTS
from genie.metrics.metric_info import MetricInfo, canonical, pattern

BETTER = {
    "max": (
        "val/psnr", "val/ssim", "val/codebook_usage", "val/codebook_perplexity", "val/action_nmi",
        "val/action_accuracy", "val/teacher_forced_accuracy", "train/masked_accuracy", "rollout/delta_psnr_t4",
        "rollout/psnr_h1", "rollout/psnr_mean", "tokenizer.psnr", "objects.ball.survival",
        "rollout_objects.ball.rally.generated.in_place",
        "rollout_objects.ball.rally.in_place_by_horizon", "rollout_objects.player.obedience.correlation",
        "rollout_objects.player.obedience.sign_accuracy", "rollout/ball_rally_in_place", "val/changed_token_accuracy",
        "rollout.horizons_above_copy_last", "rollout_objects.ball.present", "val/recall_positive",
        "val/terminal_precision", "val/return_spearman_correlation", "val/preference_accuracy",
        "prediction.horizons_below_copy_last", "imagination.b8_h4.steps_per_second", "planning.c16_h6.return",
        "planning.c16_h6.success", "reward.reached.recall_negative",
    ),
    "min": (
        "train/loss", "val/loss", "val/reconstruction_loss", "val/quantizer_loss", "rollout/fvd_i3d_16f_64v",
        "rollout/kvd_i3d_16f_64v", "val/position_nmi", "objects.ball.false_alarms",
        "tokens.object_token_cross_entropy", "val/jitter", "train/kl_loss_weighted", "val/imagined_rmse_h4",
        "rollout_objects.ball.rally.doubled", "rollout_objects.ball.distance_mean", "rollout.passes_per_frame",
        "fvd.unpaired", "val/reward_mse",
        "val/terminal_calibration_error", "prediction.pixel_error_by_horizon", "imagination.b8_h4.seconds",
        "imagination.b8_h4.own_mb", "long_rollout.ball.presence_error", "long_rollout.ball.speed_ks",
        "long_rollout.ball.generated.doubled", "long_rollout.ball.doubled_by_quarter", "long_rollout.points.rate_error",
        "long_rollout.flicker.generated.ratio", "long_rollout.flicker.ratio", "long_rollout.fvd.at_100",
    ),
    None: (
        "val/psnr_copy_last", "val/psnr_background", "val/teacher_forced_accuracy_copy_last",
        "rollout/psnr_copy_last_mean", "rollout/seconds",
        "lam.action_accuracy_majority", "train/learning_rate", "train/clips_per_second",
        "epoch", "media/rollout", "fvd.floor", "fvd.videos", "cost.fvd.seconds", "rollout_objects.ball.mass",
        "val/reward_mse_always_zero", "val/reward_mean_true", "prediction.state_error_copy_last_mean",
        "rollout_objects.ball.rally.in_place_constant_velocity", "rollout_objects.ball.rally.frames",
        "rollout_objects.ball.rally.clips_by_horizon", "rollout_objects.player.obedience.dependence",
        "rollout_objects.player.obedience.actions.up.generated",
        "reward.reached.positive_rewards", "planning.return_random",
        "long_rollout.ball.generated.present", "long_rollout.ball.present_by_quarter", "long_rollout.ball.game.doubled",
        "long_rollout.flicker.recorded.ratio", "long_rollout.flicker.period", "long_rollout.points.rule_recall",
        "long_rollout.points.generated.per_1000_frames", "long_rollout.fvd.at_100_game", "long_rollout.fvd.floor",
        "delta_psnr.simulator_clips", "rollout.psnr_mean_reconstruction", "rollout.psnr_mean_random_actions",
        "rollout_objects.ball.copy_last.present",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("name", "best"), [(name, best) for best, names in BETTER.items() for name in names])
def test_more_or_less_is_better(name, best):
    assert direction(name) == best


def sample(text):
    """A name that a pattern matches."""
    text = re.sub(r"\{(\w+)\}", r"\1", re.sub(r"\{\w+:d\}", "3", re.sub(r"\[[a-z_]+\]", "", text)))
    return re.sub(r"\{\w+:([^|}]+)[^}]*\}", r"\1", text).replace("[0-9]+", "2")


def test_no_metric_hides_behind_another():
    for metric in (*evaluated_metrics(), *training_metrics()):
        assert find(sample(metric.path)).path == metric.path
        if metric.logged:
            assert find(sample(metric.logged)).better == metric.better, metric.logged


def test_names_of_parts_and_groups_are_unique_and_their_metrics_are_theirs():
    names, titles = [part.name for part in PARTS], [name for part in PARTS for name in part.titles]
    assert len(set(names)) == len(names) and len(set(titles)) == len(titles)
    assert {metric.path.split(".")[0] for part in PARTS for metric in part.metrics} == set(titles)


def test_torchmetrics_agree():
    from genie.metrics.psnr import DeltaPSNR

    assert DeltaPSNR.higher_is_better and direction("delta_psnr.t4") == "max"


def test_patterns():
    path, label = "a.{object}.{end:first|last}_b{size:d}[_by_horizon]", "{object}, {end}, {size}"
    one = MetricInfo(path, label, logged="val/x_{n:d}")
    assert one.matched("a.red_ball.last_b12").label == "red ball, last, 12"
    assert one.matched("a.ball.last_b12_by_horizon") and one.matched("val/x_3")
    others = ("a.ball.mean_b12", "a.ball.last_b", "a.x.ball.last_b12", "a.ball.last_b12_low", "aXball.last_b1")
    assert [one.matched(other) for other in (*others, "val/x_")] == [None] * 6
    assert pattern("a[_b]").fullmatch("a_b") and not pattern("a.c").fullmatch("abc")


def test_the_video_of_a_metric_ends_its_name():
    assert canonical("a.ball.generated.present") == "a.ball.present"
    assert canonical("a.ball.copy_last.present_by_horizon") == "a.ball.present_copy_last_by_horizon"
    assert canonical("a.ball.copy_last.present_low") == "a.ball.present_copy_last_low"
    assert canonical("tokenizer.psnr_copy_last") == "tokenizer.psnr_copy_last"


def test_a_choice_wins_and_an_unknown_figure_needs_one():
    assert chosen_direction("auto", "val/psnr", "mode") == "max"
    assert chosen_direction("min", "val/psnr", "mode") == "min"
    with pytest.raises(UserError, match=r"val/psnr_copy_last.*give mode=min or mode=max"):
        chosen_direction("auto", "val/psnr_copy_last", "mode")
    with pytest.raises(UserError, match="mode=lowest must be auto, min or max"):
        chosen_direction("lowest", "val/psnr", "mode")
