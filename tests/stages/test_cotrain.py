import torch

from genie.stages.lam import latent_action_loss


def test_the_latent_action_model_learns_from_its_own_loss_alone(build, make_clips):
    stage, batch = build("cotrain"), make_clips(4)
    stage.lam(stage.frames(batch))  # takes the codebook from data, as the first step does
    gradients = []
    for mine in (False, True):
        stage.zero_grad()
        if mine:
            output = stage.lam(stage.frames(batch))
            loss = latent_action_loss(output, stage.frames(batch), stage.background, stage.options["lam"])[0]
        else:
            loss = stage.compute(batch)[0]
        loss.backward()
        gradients.append(
            {name: value.grad.clone() for name, value in stage.lam.named_parameters() if value.requires_grad}
        )
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], msg=name)


def test_the_loss_is_the_sum_of_both(build, make_clips):
    stage = build("cotrain").eval()
    loss, metrics = stage.compute(make_clips(4))
    torch.testing.assert_close(loss.detach(), metrics["dynamics_loss"] + metrics["lam_loss"])


def test_the_dynamics_gets_the_actions_of_this_very_model(build, make_clips, monkeypatch):
    stage, batch = build("cotrain").eval(), make_clips(4)
    seen = []
    hidden = stage.model.hidden
    monkeypatch.setattr(
        stage.model, "hidden", lambda tokens, actions, *more: seen.append(actions) or hidden(tokens, actions, *more)
    )
    stage.compute(batch)
    assert torch.equal(seen[0], stage.lam.encode(stage.frames(batch)))


def test_steps_without_actions(build, make_clips, monkeypatch):
    for name, prefix in {"lam": "stage", "cotrain": "stage.lam"}.items():
        stage = build(name, f"{prefix}.action_free_steps=10").train()
        assert stage.compute(make_clips(4))[1]["quantizer_loss"] == 0
        monkeypatch.setattr(type(stage), "global_step", 10)
        assert stage.compute(make_clips(4))[1]["quantizer_loss"] > 0
