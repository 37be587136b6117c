"""What every stage must be able to do: send a gradient to every parameter, and fit one clip."""

import pytest
import torch

pytestmark = pytest.mark.slow

FSQ = ["model.tokenizer.num_codes=64", "+model.tokenizer.quantizer=fsq", "+model.tokenizer.levels=[8,8]"]
STAGES = {
    "tokenizer": ["tokenizer"],
    "tokenizer fsq": ["tokenizer", *FSQ, "+model.tokenizer.standardize=true"],
    "tokenizer learned positions": ["tokenizer", "+model.tokenizer.transformer={temporal_positions: learned}"],
    "tokenizer vit": ["tokenizer", "+model.tokenizer.architecture=vit"],
    "tokenizer c_vivit": ["tokenizer", "+model.tokenizer.architecture=c_vivit"],
    "tokenizer conv": ["tokenizer", "+model.tokenizer.architecture=conv"],
    "tokenizer patch_mlp": ["tokenizer", "+model.tokenizer.encoder=patch_mlp", "+model.tokenizer.decoder=vit"],
    "tokenizer stable": ["tokenizer", "stage.stability_weight=0.1"],
    "tokenizer weighted bce": ["tokenizer", "stage.reconstruction=bce", "stage.foreground_weight=5"],
    "lam": ["lam"],
    "lam copy_last": ["lam", "+model.lam.copy_last=true", "+model.lam.standardize=false", "stage.change_weight=5"],
    "lam fsq": ["lam", "+model.lam.quantizer=fsq", "+model.lam.levels=[3]", "stage.reconstruction=mse"],
    "lam surprise": [
        "lam", "+model.lam.pooling=surprise", "+model.lam.antisymmetric=true", "+model.lam.encoder_positions=relative",
    ],
    "lam surprise on tokens": ["lam", "+model.lam.pooling=surprise", "+model.lam.input=tokens"],
    "lam on tokens": ["lam", "+model.lam.input=tokens"],
    "dynamics additive": ["dynamics"],
    "dynamics prepend": ["dynamics", "+model.dynamics.conditioning=prepend"],
    "dynamics film": ["dynamics", "+model.dynamics.conditioning=film", "stage.actions=environment"],
    "dynamics clean": ["dynamics", "stage.context=clean", "stage.corruption=0.1"],
    "dynamics digits": [
        "dynamics", *FSQ, "+model.dynamics.token_embedding=digits", "+model.dynamics.token_head=digits",
    ],
    "dynamics chain": ["dynamics", "stage.context=clean", *FSQ, "+model.dynamics.token_head=chain"],
    "dynamics coordinates": [
        "dynamics", "stage.context=clean", *FSQ, "+model.dynamics.token_embedding=coordinates",
        "+model.dynamics.token_head=both",
    ],
    "cotrain": ["cotrain", "stage.clean_prefix=0.5", "stage.corruption=0.2"],
    "cotrain on tokens": ["cotrain", "+model.lam.input=tokens"],
}  # fmt: skip
NOISE = 1e-6  # rounding in a parameter that has no influence, such as a bias before a batch norm
stages = pytest.mark.parametrize("choice", STAGES.values(), ids=STAGES)


@stages
def test_every_parameter_gets_a_gradient(build, make_clips, choice):
    stage = build(*choice)
    torch.manual_seed(0)
    stage.train()
    learned = set()
    for seed in range(3):  # three codes are not all chosen in one batch of few clips
        stage.zero_grad()
        loss, metrics = stage.compute(make_clips(8, seed=seed))
        loss.backward()
        assert all(value.isfinite() and not value.requires_grad for value in metrics.values())
        learned |= {
            name
            for name, value in stage.named_parameters()
            if value.grad is not None and value.grad.abs().max() > NOISE
        }
    assert learned == {name for name, value in stage.named_parameters() if value.requires_grad}


@stages
def test_the_optimizer_has_every_parameter_once(build, choice):
    stage = build(*choice)
    optimizer = stage.configure_optimizers()["optimizer"]
    theirs = [id(parameter) for group in optimizer.param_groups for parameter in group["params"]]
    assert len(theirs) == len(set(theirs))
    assert set(theirs) >= {id(parameter) for parameter in stage.parameters() if parameter.requires_grad}
    frozen = [name for name, parameter in stage.named_parameters() if not parameter.requires_grad]
    assert all(name.endswith(("encoder.norm.weight", "encoder.norm.bias")) for name in frozen)


@pytest.mark.parametrize(
    ("choice", "goals"),
    {
        "tokenizer": {"reconstruction_loss": 1e-3},
        "tokenizer fsq": {"reconstruction_loss": 1e-3},
        "lam": {"prediction_loss": 1e-3},
        "lam fsq": {"prediction_loss": 1e-3},
        "lam surprise": {"prediction_loss": 1e-3, "expected_loss": 1e-3},
        "dynamics additive": {"loss": 0.02},
        "dynamics film": {"loss": 0.02},
        "dynamics clean": {"loss": 0.1},
        "dynamics digits": {"loss": 0.02},
        "dynamics coordinates": {"loss": 0.02},
        "cotrain": {"dynamics_loss": 0.1, "prediction_loss": 1e-3},
    }.items(),
)
def test_one_clip_is_learned_by_heart(build, make_clips, choice, goals):
    stage, batch = build(*STAGES[choice]), make_clips(1)
    torch.manual_seed(0)
    optimizer = torch.optim.AdamW(stage.trained().parameters(), lr=3e-3, betas=(0.9, 0.9))
    last: dict[str, float] = {}
    for step in range(400):
        batch["seed"] = torch.tensor([step % 50])
        loss, metrics = stage.train().compute(batch)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(stage.parameters(), 1.0)
        optimizer.step()
        for name, value in {"loss": loss.detach(), **metrics}.items():
            last[name] = 0.9 * last.get(name, value.item()) + 0.1 * value.item()
        if all(last[name] < goal for name, goal in goals.items()):
            return
    raise AssertionError(f"after {step + 1} steps {last}")


@pytest.mark.parametrize("name", ["tokenizer", "lam", "dynamics", "cotrain"])
def test_bf16_autocast_gives_finite_losses_close_to_fp32(build, make_clips, name):
    batch = make_clips(4)
    for part in (stage := build(name)).parts().values():
        torch.manual_seed(0)
        part.train()
    exact = stage.eval().compute(batch)[0].detach()
    with torch.autocast("cpu", torch.bfloat16):
        loss, _ = stage.compute(batch)
    loss.backward()
    assert loss.dtype == torch.float32 and loss.isfinite()
    torch.testing.assert_close(loss.detach(), exact, atol=0.02, rtol=0.05)
    assert all(parameter.grad.isfinite().all() for parameter in stage.parameters() if parameter.grad is not None)
