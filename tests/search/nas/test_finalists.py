import pytest

from mmnv3.errors import UserError
from mmnv3.search.folder import Folder
from mmnv3.search.nas.finalists import ROWS, choose_finalists, train_finalists
from mmnv3.search.nas.reward import make_reward
from mmnv3.search.nas.search import Outcome, Sample
from mmnv3.search.nas.space import get_space

SPACE = get_space('v3_small')
REWARD = make_reward(2000, 'hard')


def sample(index: int, changed: int, reward: float | None) -> Sample:
    """A network whose tokens are 0, but for some at the beginning."""
    choices = [place for place, size in enumerate(SPACE.sizes) if size > 1]
    tokens = tuple(int(place in choices[:changed]) for place in range(len(SPACE.sizes)))
    return Sample(index, tokens, 1900.0, reward, reward)


SAMPLES = [
    sample(0, 0, 0.30),
    sample(1, 3, 0.44),
    sample(2, 8, 0.40),
    sample(3, 5, 0.43),
    sample(4, 12, None),
    sample(5, 4, 0.44),
]


@pytest.mark.parametrize(
    'count, expected',
    # 5 is as good as 1, and 3 better than 2, but each a variation of one before.
    [(1, [1]), (2, [1, 2]), (9, [1, 2])],
)
def test_the_best_that_are_not_alike(count, expected):
    assert [found.index for found in choose_finalists(SAMPLES, count)] == expected


def trainer(accuracies: dict[int, float | None], trained: list):
    def train(batch):
        for place, tokens in enumerate(batch):
            trained.append(sum(tokens))
            value = accuracies[sum(tokens)]
            yield place, Outcome(value, None if value else 'loss is nan')

    return train


def test_the_order_is_that_of_the_whole_training_and_nothing_is_trained_twice(tmp_path):
    finalists = choose_finalists(SAMPLES, 2)
    trained, told = [], []
    arguments = REWARD, trainer({3: 0.5, 8: 0.6}, trained), Folder(tmp_path)
    found = train_finalists(SPACE, finalists, *arguments, told.append)
    assert [(each.index, each.accuracy, each.reward) for each in found] == [
        (1, 0.5, 0.5),
        (2, 0.6, 0.6),
    ]
    assert [each.tokens for each in found] == [each.tokens for each in finalists]
    assert told == found
    assert train_finalists(SPACE, finalists, *arguments, told.append) == found
    assert trained == [3, 8] and told == found * 2


def test_a_failure_is_trained_again_and_one_does_no_harm(tmp_path):
    finalists, trained = choose_finalists(SAMPLES, 2), []
    broken = trainer({3: None, 8: float('nan')}, trained)
    with pytest.raises(UserError, match=r'none of 2 finalists.*its accuracy is nan'):
        train_finalists(SPACE, finalists, REWARD, broken, Folder(tmp_path))
    half = trainer({3: None, 8: 0.6}, trained)
    found = train_finalists(SPACE, finalists, REWARD, half, Folder(tmp_path))
    assert [each.accuracy for each in found] == [None, 0.6]
    assert trained == [3, 8] * 2


def test_a_damaged_file_is_one_line(tmp_path):
    (tmp_path / ROWS).write_text('{"index": 1}\n')
    with pytest.raises(UserError, match=f'{ROWS} is damaged'):
        train_finalists(SPACE, SAMPLES[:1], REWARD, trainer({}, []), Folder(tmp_path))
