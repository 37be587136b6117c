import pytest
import torch
import torch.nn.functional as F

from genie.models import DynamicsModel, vocabulary
from genie.models.initialization import initialize
from genie.models.quantizers import FiniteScalarQuantizer
from genie.models.vocabulary import HEADS, Digits, build_embedding, build_head, expected_distance

LEVELS, CODES, WIDTH = (3, 4, 2), 24, 16
CODE = torch.arange(CODES)


def filled(module):
    """With weights that are all different, those that begin at 0, too."""
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        parameter.data.normal_(generator=generator)
    return module


def test_digits_are_those_of_the_quantizer():
    quantizer = FiniteScalarQuantizer(LEVELS)
    digits = Digits(LEVELS)(CODE)
    assert (digits < torch.tensor(LEVELS)).all() and len({tuple(row) for row in digits.tolist()}) == CODES
    torch.testing.assert_close(quantizer.lookup(CODE), digits * 2.0 / (torch.tensor(LEVELS) - 1) - 1.0)


@pytest.mark.parametrize("kind", ["digits", "coordinates"])
def test_codes_share_what_their_digits_share(kind):
    """Changing one digit changes the embedding by the same vector whatever the others are."""
    embedding = filled(build_embedding(kind, CODES, LEVELS, WIDTH))
    vectors = embedding(CODE).view(2, 4, 3, WIDTH)  # the last digit is the slowest
    torch.testing.assert_close(
        vectors[:, :, 1] - vectors[:, :, 0], (vectors[:1, :1, 1] - vectors[:1, :1, 0]).expand(2, 4, -1)
    )
    torch.testing.assert_close(vectors[1] - vectors[0], (vectors[1, :1, :1] - vectors[0, :1, :1]).expand(4, 3, -1))
    if kind == "coordinates":  # evenly spaced levels
        torch.testing.assert_close(vectors[:, 2] - vectors[:, 1], vectors[:, 1] - vectors[:, 0])
    assert torch.cdist(embedding(CODE), embedding(CODE)).add(torch.eye(CODES)).min() > 1e-3
    mask = embedding(torch.tensor([CODES, 5, CODES]))
    assert torch.equal(mask[0], mask[2]) and (mask[0] - embedding(CODE)).norm(dim=-1).min() > 1e-3


@pytest.mark.parametrize("kind", HEADS)
def test_scores_are_those_of_the_logits(kind, monkeypatch):
    monkeypatch.setattr(vocabulary, "AT_ONCE", 7 * CODES)  # the last part has one row
    head = filled(build_head(kind, CODES, LEVELS, WIDTH))
    hidden, target = torch.randn(50, WIDTH), torch.randint(CODES, (50,))
    logits = head(hidden)
    nats, right = head.score(hidden, target)
    torch.testing.assert_close(nats, F.cross_entropy(logits, target, reduction="none"))
    assert torch.equal(right, logits.argmax(-1) == target)
    _, all_right = head.score(hidden, logits.argmax(-1))
    assert all_right.all()


def test_digits_are_independent_where_the_head_is_of_digits_alone():
    hidden = torch.randn(1, WIDTH)
    shares = {kind: filled(build_head(kind, CODES, LEVELS, WIDTH))(hidden).softmax(-1).view(2, 4, 3) for kind in HEADS}
    for kind, joint in shares.items():
        product = torch.einsum("c,b,a->cba", joint.sum((1, 2)), joint.sum((0, 2)), joint.sum((0, 1)))
        assert torch.allclose(product, joint, atol=1e-6) == (kind == "digits"), kind


def test_a_head_of_both_begins_as_one_of_digits():
    head = build_head("both", CODES, LEVELS, WIDTH)
    initialize(head, 0)
    hidden = torch.randn(3, WIDTH)
    torch.testing.assert_close(head(hidden), head.by_digit(hidden))


def test_digits_of_a_chain_are_independent_at_first():
    head = build_head("chain", CODES, LEVELS, WIDTH)
    initialize(head, 0)
    joint = head(torch.randn(3, WIDTH)).softmax(-1).view(3, 2, 4, 3)
    product = torch.einsum("nc,nb,na->ncba", joint.sum((2, 3)), joint.sum((1, 3)), joint.sum((1, 2)))
    torch.testing.assert_close(joint, product)


@pytest.mark.parametrize(("kind", "share"), [("digits", 1 / 8), ("both", 1 / 2), ("chain", 1 / 2)])
def test_two_likely_codes_make_mixtures_likely_where_digits_are_independent(kind, share):
    """Codes 0 and 23 differ in three digits: independent ones give each of the eight mixtures the same share."""
    head, hidden = build_head(kind, CODES, LEVELS, WIDTH), torch.ones(2, WIDTH)
    initialize(head, 0)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        head.score(hidden, torch.tensor([0, CODES - 1]))[0].sum().backward()
        optimizer.step()
    torch.testing.assert_close(head(hidden[0]).softmax(-1)[[0, -1]], torch.full((2,), share), atol=0.02, rtol=0)


@pytest.mark.parametrize("option", ["token_embedding", "token_head"])
def test_codes_without_digits_are_told(option):
    with pytest.raises(ValueError, match=f"{option}=digits: only codes of model.tokenizer.quantizer=fsq have digits"):
        DynamicsModel(CODES, (2, 3), 3, WIDTH, 1, 2, **{option: "digits"})
    with pytest.raises(ValueError, match=f"{option}='digit': choose one of"):
        DynamicsModel(CODES, (2, 3), 3, WIDTH, 1, 2, levels=LEVELS, **{option: "digit"})


def test_the_expected_distance_is_the_mean_over_all_codes():
    places = Digits([4, 3]).coordinates(torch.arange(12))
    assert places[0].tolist() == [-1, -1] and places[11].tolist() == [1, 1] and places[4].tolist() == [-1, 0]
    probabilities, target = torch.rand(5, 12).softmax(-1), torch.tensor([0, 3, 7, 11, 4])
    squares = (places[:, None] - places[target]).square().sum(-1)  # [K, M]
    torch.testing.assert_close(expected_distance(probabilities, target, places), (probabilities.T * squares).sum(0))
    sure = F.one_hot(target, 12).float()
    torch.testing.assert_close(expected_distance(sure, target, places), torch.zeros(5))


@pytest.mark.parametrize("head", HEADS)
def test_distance_is_added_to_the_cross_entropy(head):
    model = DynamicsModel(12, (2, 2), 3, 8, 1, 2, levels=[4, 3], token_head=head)
    tokens, actions = torch.randint(12, (2, 3, 4)), torch.zeros(2, 2, dtype=torch.int64)
    mask = torch.ones_like(tokens, dtype=torch.bool)
    mask[:, 0] = False
    (nats, right), (more, same) = (model.score(tokens, actions, mask, tokens, distance_weight=w) for w in (0.0, 2.0))
    distance = expected_distance(model(tokens, actions, mask).softmax(-1), tokens[mask], model.code_places)
    torch.testing.assert_close(more, nats + 2 * distance)
    assert torch.equal(right, same) and (distance > 0).all()
