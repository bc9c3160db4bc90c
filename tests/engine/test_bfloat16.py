"""Training in bfloat16 on a CPU."""

import torch
from mmengine.model import BaseModel
from mmengine.optim import build_optim_wrapper
from torch import Tensor, nn

from mmnv3.models.layers import Conv2dSame


class Model(BaseModel):
    """A depthwise convolution of each kind, batch normalisation and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            Conv2dSame(4, 4, 3, stride=2, groups=4),
            nn.Conv2d(4, 4, 5, padding=2, groups=4),
            nn.BatchNorm2d(4),
            nn.Conv2d(4, 2, 1),
        )

    def forward(self, inputs: Tensor, mode: str) -> dict[str, Tensor]:
        return dict(loss=self.layers(inputs).square().mean())


def test_it_computes_in_bfloat16_and_learns_in_float32() -> None:
    torch.manual_seed(0)
    model = Model()
    found = {}
    for name, layer in model.layers.named_children():
        layer.register_forward_hook(
            lambda _, __, out, name=name: found.update({name: out})
        )
    wrapper = build_optim_wrapper(
        model,
        dict(
            type='mmnv3.BFloat16OptimWrapper',
            optimizer=dict(type='SGD', lr=0.1, momentum=0.9),
            accumulative_counts=2,
        ),
    )
    data = dict(inputs=torch.rand(2, 4, 9, 10))
    losses = [model.train_step(data, wrapper)['loss'].item() for _ in range(20)]
    assert losses[-1] < 0.7 * losses[0]
    assert {out.dtype for out in found.values()} == {torch.bfloat16}
    assert [found[name].grad_fn.name()[:16] for name in '01'] == [
        '_DepthwiseConv2d'
    ] * 2
    floats, state = [*model.state_dict().values()], wrapper.state_dict()
    floats += [entry['momentum_buffer'] for entry in state['state'].values()]
    assert {t.dtype for t in floats if t.is_floating_point()} == {torch.float32}
    # mmengine's wrapper in float32 goes on from it, and the other way round.
    plain = build_optim_wrapper(
        model, dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9))
    )
    plain.load_state_dict(state)
    assert not torch.is_autocast_enabled('cpu')
