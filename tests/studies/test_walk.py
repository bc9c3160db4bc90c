"""The walk of docs/tutorial.md: its commands run, and what they print is written."""

import json
from pathlib import Path

import pytest

from mmnv3.errors import UserError
from studies.walk import PAGE, walk, with_outputs
from tests.conftest import ROOT

TEXT = 'a\n\n```bash\necho 1\n```\n\nb\n\n```bash\ntrue\n```\n\nc\n'


def test_outputs_are_written_and_replaced(tmp_path: Path) -> None:
    log = "echo '11/27 06:55:14 - mmengine - INFO - x'; echo $PWD/a"
    logs = TEXT.replace('true', log)
    outputs = [output for _, output in walk(logs, tmp_path)]
    assert outputs == ['1\n', 'a\n']
    outputs[1] = ''
    written = with_outputs(TEXT, outputs)
    assert written == TEXT.replace('1\n```\n', '1\n```\n\n```text\n1\n```\n')
    assert with_outputs(written, ['2', '']) == written.replace('t\n1', 't\n2')
    assert with_outputs(written, ['', '']) == TEXT


def test_what_fails_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r'^false . true ended with 1: '):
        list(walk('```bash\nfalse | true\n```\n', tmp_path))


@pytest.mark.slow  # It trains for a minute, and more where that is short.
def test_the_page(tmp_path: Path) -> None:
    places = (ROOT / 'data', ROOT / '../shared/data')
    data = next((place for place in places if (place / 'bccd').is_dir()), None)
    if data is None or not (data / 'weights').is_dir():
        pytest.skip('there is no data/bccd or no data/weights')
    (tmp_path / 'data').symlink_to(data.resolve())
    text = PAGE.read_text('utf-8')
    assert '--minutes 10' in text
    steps = list(walk(text.replace('--minutes 10', '--minutes 1'), tmp_path))
    assert len(steps) == 5
    scores = [output for _, output in steps if 'coco/bbox_mAP:' in output]
    assert len(scores) == 2
    found = json.loads((tmp_path / 'found.json').read_text())
    assert len(found) == len(list((data / 'bccd/images').iterdir()))
