"""The service that the docs show answers many at once as one Predictor does."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmnv3 import Predictor
from tests.deploy.tiny import write_tiny

ROOT = Path(__file__).parents[2]
DOCS = (ROOT / 'docs/predict.md').read_text(encoding='utf-8')


def test_the_service_of_the_docs(tmp_path, monkeypatch) -> None:
    pytest.importorskip('fastapi', reason='FastAPI is not installed')
    from fastapi.testclient import TestClient

    (code,) = (
        block
        for block in re.findall(r'```python\n(.*?)```', DOCS, re.DOTALL)
        if 'FastAPI' in block
    )
    model = write_tiny(tmp_path, 'onnx')
    monkeypatch.setenv('MODEL', str(model))
    names: dict = {'__name__': 'service'}
    exec(compile(code, 'service.py', 'exec', dont_inherit=True), names)
    client = TestClient(names['app'])
    random = np.random.default_rng(0)
    pictures = list(random.integers(0, 256, (4, 40, 60, 3), np.uint8))
    files = [cv2.imencode('.png', picture)[1].tobytes() for picture in pictures]

    def ask(content: bytes) -> list[dict]:
        answer = client.post(
            '/detect?score_thr=0',
            content=content,
            headers={'Content-Type': 'image/jpeg'},
        )
        assert answer.status_code == 200
        return answer.json()

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(ask, files * 5))
    predict = Predictor(model, threads=1)
    for answer, picture in zip(answers, pictures * 5, strict=True):
        found = predict(picture)
        assert [one['score'] for one in answer] == found.scores[
            found.scores > 0
        ].tolist()
        boxes = np.array([one['box'] for one in answer], np.float32)
        np.testing.assert_array_equal(boxes, found.boxes[found.scores > 0])
    broken = client.post(
        '/detect', content=files[0][:50], headers={'Content-Type': 'image/jpeg'}
    )
    assert broken.status_code == 400 and 'truncated' in broken.json()['detail']
