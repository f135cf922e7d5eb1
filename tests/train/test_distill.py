"""The distillation loss by hand, and that the teacher only teaches."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from micronas.data import TensorSplit
from micronas.errors import ConfigError
from micronas.train.distill import distillation
from micronas.train.loop import predict
from micronas.train.recipe import Recipe
from tests.training import fit

pytestmark = pytest.mark.usefixtures("device")


class Fixed(nn.Module):
    """Answers with the same logits whatever it sees."""

    def __init__(self, *logits: list[float]) -> None:
        super().__init__()
        self.logits = torch.tensor(logits)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.logits


def test_by_hand() -> None:
    # Student (0, 0) twice: hard loss ln 2 for either label, soft distribution (1/2, 1/2).
    # Teachers (4 ln 3, 0) at temperature 4: (3/4, 1/4), and one who agrees. Their divergences:
    divergence = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    loss = distillation(Fixed([4 * math.log(3), 0.0], [0.0, 0.0]))
    value = loss(torch.zeros(2, 2), torch.tensor([1, 0]), torch.zeros(2, 1, 1, 1))
    assert value.item() == pytest.approx(0.5 * math.log(2) + 0.5 * 16 * divergence / 2, rel=1e-6)


@given(st.floats(0, 1), st.floats(0.5, 20), st.lists(st.floats(-5, 5), min_size=2, max_size=6))
def test_a_teacher_who_agrees_leaves_the_weighted_cross_entropy(
    coefficient: float, temperature: float, logits: list[float]
) -> None:
    loss = distillation(Fixed(logits), coefficient=coefficient, temperature=temperature)
    value = loss(torch.tensor([logits]), torch.tensor([0]), torch.zeros(1, 1, 1, 1))
    hard = -torch.tensor(logits).log_softmax(0)[0].item()
    assert value.item() == pytest.approx((1 - coefficient) * hard, abs=1e-3)


def test_label_smoothing_is_of_the_hard_term() -> None:
    logits, labels = torch.tensor([[2.0, -1.0]]), torch.tensor([0])
    loss = distillation(Fixed([2.0, -1.0]), coefficient=0.5, label_smoothing=0.2)
    right, wrong = logits[0].log_softmax(0).tolist()
    expected = -0.5 * (0.9 * right + 0.1 * wrong)
    assert loss(logits, labels, torch.zeros(1, 1, 1, 1)).item() == pytest.approx(expected, rel=1e-6)


def test_teacher_stays_as_it_is() -> None:
    teacher = nn.Sequential(nn.BatchNorm2d(1), nn.Dropout(0.5), nn.Flatten(), nn.Linear(4, 2))
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    inputs, labels = torch.randn(8, 1, 2, 2), torch.zeros(8, dtype=torch.long)
    loss = distillation(teacher)
    values = {loss(torch.ones(8, 2), labels, inputs).item() for _ in range(3)}
    assert len(values) == 1, "dropout must be off"
    student = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    loss(student(inputs), labels, inputs).backward()
    assert student[1].weight.grad is not None
    assert all(parameter.grad is None for parameter in teacher.parameters())
    for name, value in teacher.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_student_learns_what_only_the_teacher_knows() -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(256, 1, 2, 2, generator=generator)
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    with torch.no_grad():
        teacher[1].weight.copy_(torch.tensor([[4.0, 0, 0, 0], [-4.0, 0, 0, 0]]))
        teacher[1].bias.zero_()
    # The labels say nothing of the inputs.
    split = TensorSplit(inputs, torch.arange(256) % 2)
    student = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    for parameter in student.parameters():
        nn.init.zeros_(parameter)
    loss = distillation(teacher, coefficient=1.0)
    fit(student, split, Recipe(epochs=30, batch_size=32, learning_rate=0.05), seed=0, loss=loss)
    agrees = predict(student, split).argmax(1) == (inputs[:, 0, 0, 0] < 0).long()
    assert agrees.float().mean() > 0.95


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"coefficient": 1.5}, "coefficient=1.5"),
        ({"coefficient": float("nan")}, "coefficient=nan"),
        ({"temperature": 0.0}, "temperature=0"),
        ({"temperature": float("nan")}, "temperature=nan"),
    ],
)
def test_numbers_out_of_range(settings: dict[str, float], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        distillation(Fixed([0.0]), **settings)


def test_teacher_of_other_classes() -> None:
    loss = distillation(Fixed([0.0, 0.0, 0.0]))
    with pytest.raises(ConfigError, match=r"logits are \(1, 3\), the student's \(1, 2\)"):
        loss(torch.zeros(1, 2), torch.tensor([0]), torch.zeros(1, 1, 1, 1))
