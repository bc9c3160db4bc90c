"""One network whose weights serve all networks of a space.

Every network takes the first channels, the first blocks of a stage and the middle of
the kernels. So a single training teaches thousands of networks (Once-for-All, Cai et
al., ICLR 2020; BigNAS, Yu et al., ECCV 2020), and a candidate costs no training, only
new statistics of its batch normalisation and an evaluation.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from torch import Tensor, nn
from torch.func import functional_call

from mmnv3.engine.build import quiet_logger
from mmnv3.errors import UserError
from mmnv3.search.configs import MODEL_BLOCK, build, with_sampled_spec
from mmnv3.search.nas.space import OPS, Space, Tokens

# Random networks that train with the largest and the smallest in every iteration
# (BigNAS's sandwich, Yu and Huang, ICCV 2019).
RANDOM_NETWORKS = 2


class ElasticModel(BaseModel):
    """A model that trains all networks of a space at once.

    An iteration trains the largest network, the smallest, and some random ones on the
    same batch, and steps along the mean of their gradients.

    Args:
        config: The config, whose backbone is replaced.
        space: The networks.
        seed: Of the initial weights and of the networks that are drawn.

    Raises:
        UserError: When the networks' layers are too different to share weights.
    """

    def __init__(self, config: Config, space: Space, seed: int = 0) -> None:
        self.config, self.space = config, space
        self.seed = seed
        # Those at the ends of the space, which are trained again and again.
        self._kept: dict[Tokens, nn.Module] = {}
        with torch.random.fork_rng(devices=[]), quiet_logger():
            torch.manual_seed(seed)
            ends = [space.extreme(op, True) for op in space.choices['op']]
            models: list[tuple[Tokens, Any]] = [
                (tokens, self._build(tokens)) for tokens in ends
            ]
            for _, model in models:
                model.init_weights()
        models.sort(key=lambda pair: _size(pair[1]), reverse=True)
        self.largest = models[0][0]
        super().__init__(data_preprocessor=models[0][1].data_preprocessor)
        # Kept with the weights: what is drawn in a step is the same after a resume.
        self.steps: Tensor
        self.register_buffer('steps', torch.zeros((), dtype=torch.int64))
        # The largest of every layer, as a module of its own kind: what decays weights
        # asks for that. Of equal ones it is that of the largest network.
        self.layers = nn.ModuleDict()
        for tokens, model in models:
            for name, module in model.named_modules():
                if not _numbers(module):
                    continue
                key = self._layer(name, tokens, model)
                if key not in self.layers or (
                    _numbers(self.layers[key]) < _numbers(module)
                ):
                    self.layers[key] = module
        self.smallest = min(
            (space.extreme(op, False) for op in space.choices['op']),
            key=lambda tokens: _size(self._build(tokens)),
        )

    def _build(self, tokens: Tokens) -> nn.Module:
        return build(with_sampled_spec(self.config, self.space.decode(tokens)))

    def _layer(self, name: str, tokens: Tokens, model: Any) -> str:
        """The layer whose weights one of a network shares, by its name in a model.

        As ``backbone/stage2/0/expand/conv`` of ``backbone.block4.expand.conv``: a block
        is told by its place in its stage, not in the network. Blocks of another kind
        share nothing: a depthwise convolution of what comes in, as a separable block
        has, is none of the first channels of an expansion.
        """
        found = MODEL_BLOCK.match(name)
        if found:
            stage, index = self.space.places(tokens)[int(found[1]) - 1]
            kind = self._kind(stage, tokens)
            name = f'backbone.stage{stage}.{index}{kind}{name[found.end() :]}'
        elif not name.startswith('backbone.'):
            # C4 is an expansion, or where there is none what comes in.
            name = '.'.join([name, *(tap.part for tap in model.backbone.taps)])
        return name.replace('.', '/')

    def _kind(self, stage: int, tokens: Tokens) -> str:
        """What the names of a stage's blocks are told from those of bottlenecks by."""
        op = OPS[self.space.settings(tokens)[stage]['op']]
        return '.fused' if op.fused else '' if op.ratio > 1 else '.separable'

    def parameters_of(self, model: nn.Module, tokens: Tokens) -> dict[str, Tensor]:
        """The shared weights that a network takes, through which gradients flow.

        Args:
            model: A model with the network.
            tokens: The network's.

        Raises:
            UserError: When one of its layers is larger than all that were trained.
        """
        found = {}
        for name, parameter in model.named_parameters():
            layer, _, attribute = name.rpartition('.')
            shared = getattr(self.layers[self._layer(layer, tokens, model)], attribute)
            taken = take(shared, parameter.shape)
            if taken.shape != parameter.shape:
                raise UserError(
                    f'{name} of a network of the space {self.space.name!r} is '
                    f'{tuple(parameter.shape)}, and the shared weight '
                    f'{tuple(shared.shape)}; search with --proxy scratch'
                )
            found[name] = taken
        return found

    def network(self, tokens: Tokens) -> nn.Module:
        """A model with a network and its share of the weights.

        Its batch normalisation has no statistics yet; see :func:`recalibrate`.
        """
        model = self._build(tokens)
        weights = self.parameters_of(model, tokens)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(weights[name])
        return model

    def train_step(self, data: Any, optim_wrapper: OptimWrapper) -> dict[str, Tensor]:
        """Trains some networks on a batch; see the class.

        Returns:
            The losses of the largest network.
        """
        chance = random.Random(f'{self.seed} {int(self.steps)}')
        drawn = [self.space.random(chance) for _ in range(RANDOM_NETWORKS)]
        ends = self.largest, self.smallest
        data = self.data_preprocessor(data, True)
        logs = []
        optim_wrapper.zero_grad()
        for tokens in (*ends, *drawn):
            model = self._kept.get(tokens)
            if model is None:
                model = self._build(tokens)
            if tokens in ends:
                self._kept[tokens] = model
            model.train()
            with optim_wrapper.optim_context(self):
                weights = self.parameters_of(model, tokens)
                losses = functional_call(
                    model, weights, kwargs=dict(_arguments(data), mode='loss')
                )
            loss, log = self.parse_losses(losses)
            logs.append(log)
            optim_wrapper.backward(loss / (len(ends) + len(drawn)))
        optim_wrapper.step()
        self.steps += 1
        return logs[0]

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """There is no network to run but those of :meth:`network`.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError('run what ElasticModel.network returns')


def _arguments(data: Any) -> dict[str, Any]:
    """What a model takes of a batch that was prepared."""
    if isinstance(data, dict):
        return data
    inputs, samples = data
    return dict(inputs=inputs, data_samples=samples)


def _numbers(module: nn.Module) -> int:
    """Weights of a layer itself."""
    return sum(parameter.numel() for parameter in module.parameters(recurse=False))


def _size(model: nn.Module) -> int:
    return sum(map(_numbers, model.modules()))


def take(shared: Tensor, shape: Sequence[int]) -> Tensor:
    """The part of a shared weight that a smaller layer takes, without a copy.

    Args:
        shared: Of a convolution, (C, C, K, K), a linear layer or a normalisation.
        shape: Of the part, at most that of the whole.

    Returns:
        The first channels, and of kernels the middle.
    """
    for dim, (have, want) in enumerate(zip(shared.shape, shape)):
        if want < have:
            start = (have - want) // 2 if dim >= 2 else 0
            shared = shared.narrow(dim, start, want)
    return shared


@torch.no_grad()
def recalibrate(model: Any, batches: Sequence[Any]) -> None:
    """Gives batch normalisation the statistics of its own network.

    Args:
        model: A model of one of the toolboxes; it is in eval mode afterwards.
        batches: Of its training, as a data loader gives them.
    """
    norms = [
        module
        for module in model.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
    ]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # The mean of all batches.
    model.train()
    for batch in batches:
        model(**_arguments(model.data_preprocessor(batch, True)), mode='tensor')
    model.eval()
    for norm, momentum in zip(norms, momenta):
        norm.momentum = momentum
