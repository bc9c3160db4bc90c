"""Restoring folded normalisation changes nothing but the state."""

import torch

from mmnv3.engine.hooks.unfold_norms_hook import unfold_norms
from mmnv3.models import MobileNetV3


def test_unfolding_keeps_the_output_and_makes_training_agree_with_it() -> None:
    torch.manual_seed(0)
    net = MobileNetV3('small', out_taps=('block5',))
    norms = [m for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.running_var.fill_(1 - norm.eps)
        torch.nn.init.normal_(norm.bias)
    # A layer that is new, and so was never folded.
    norms[-1].running_var.fill_(1)
    x = 2 * torch.randn(4, 3, 64, 64)
    with torch.no_grad():
        before = net.eval()(x)[0]
        far = (net.train()(x)[0] - before).abs().mean()
    for norm in norms[:-1]:  # The pass above has moved the statistics.
        norm.running_mean.zero_()
        norm.running_var.fill_(1 - norm.eps)
    norms[-1].running_mean.zero_()
    norms[-1].running_var.fill_(1)

    assert unfold_norms(net, [x]) == len(norms) - 1
    with torch.no_grad():
        after = net.eval()(x)[0]
        torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-4)
    # Where the statistics are those of the batch, training computes the same.
    stem = net.stem
    with torch.no_grad():
        torch.testing.assert_close(
            stem.train()(x), stem.eval()(x), atol=1e-4, rtol=1e-4
        )
    assert far > 0.1
    assert unfold_norms(net, [x]) == 0


def test_normalisation_without_statistics_is_left_alone() -> None:
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4, track_running_stats=False)
    )
    assert unfold_norms(net, [torch.rand(2, 3, 8, 8)]) == 0
