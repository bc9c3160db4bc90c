"""How long to train."""

from pathlib import Path

import pytest

from mmnv3.datasets.layouts import OwnData, Sample
from mmnv3.errors import UserError
from mmnv3.own_data.recipe import choose_batch, choose_iterations


def data(task: str, train: int, val: int) -> OwnData:
    samples = [Sample(Path(f'{n}.png')) for n in range(train + val)]
    return OwnData(
        Path(), task, '', ('a',), tuple(samples[:train]), tuple(samples[train:]), {}
    )


def test_the_time_is_spent_on_training_and_six_validations() -> None:
    given = data('detection', 1600, 160)
    # 10 minutes are 600 s; six times 160 pictures, a third of 10 iterations of 1 s.
    iterations, why = choose_iterations(given, 16, 10, 1.0)
    assert iterations == 600 - 20
    assert '6 times every picture; about 10 minutes at 1.00 s' in why


def test_small_sets_are_not_trained_on_for_ever() -> None:
    iterations, why = choose_iterations(data('detection', 32, 0), 16, 100, 0.1)
    assert iterations == 300 * 2 and 'about 1 minutes' in why


def test_classifiers_train_whole_epochs() -> None:
    # 100 pictures are 3 batches of 32, and 4 are left over.
    iterations, _ = choose_iterations(data('classification', 100, 0), 32, 1, 6.0)
    assert iterations == 9


def test_too_short_a_time_names_one_that_is_not() -> None:
    given = data('detection', 1600, 160)
    with pytest.raises(UserError, match='--minutes 1 is too short for one') as error:
        choose_iterations(given, 16, 1, 1.0)
    enough = float(str(error.value).split('--minutes ')[-1].split()[0])
    assert enough == pytest.approx((100 + 20) / 60, abs=0.1)
    assert choose_iterations(given, 16, enough, 1.0)[0] >= 100


def test_a_batch_is_no_larger_than_the_data() -> None:
    assert choose_batch(data('detection', 3, 1)) == 3
    assert choose_batch(data('segmentation', 99, 1)) == 8
