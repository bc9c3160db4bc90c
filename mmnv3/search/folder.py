"""The folder of a search, in which it goes on after a kill.

Every file is whole or absent, and the folder is that of one search: ``settings.json``
holds whatever the outcome depends on.
"""

from __future__ import annotations

import importlib
import io
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import mmengine
import torch
from mmengine.config import Config
from torch import Tensor

import mmnv3
from mmnv3.arch import NetSpec, load_spec, save_spec
from mmnv3.engine.checkpoints import read_checkpoint, write_checkpoint
from mmnv3.errors import UserError
from mmnv3.files import only_process, whole_or_absent
from mmnv3.json_files import read_json
from mmnv3.search.configs import dataset_length
from mmnv3.search.latency.table import LatencyTable

SETTINGS = 'settings.json'
FORMAT = 'mmnv3-search-1'
# A NAS of 0.1 left these without settings.json.
_OLDER = ('state.pt', 'history.jsonl')
# Longer values are not shown where they differ.
_SHOWN = 40


class Folder:
    """The files of a search, by names such as ``'step_01/winner.json'``.

    All that writes raises a :class:`mmnv3.errors.UserError` where the disk is full or
    read-only; what was there before stays. The folder is made by the first file.

    Args:
        path: The folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def claim(self, settings: Mapping[str, Any]) -> bool:
        """Makes the folder that of a search, or finds that it is.

        Args:
            settings: Whatever the outcome depends on, by names that a person knows.

        Returns:
            Whether the search was begun before.

        Raises:
            UserError: When it is the folder of a search with other settings, of which
                it names one, or of an earlier version.
        """
        settings = to_json({'format': FORMAT, **settings})
        known = self.read_json(SETTINGS)
        begun = known is not None
        if not begun and not any((self.path / name).exists() for name in _OLDER):
            self.write_json(SETTINGS, settings)
            return False
        if not isinstance(known, dict) or known.get('format') != FORMAT:
            raise UserError(
                f'{self.path} holds a search of another version of mmnv3, which cannot '
                'be continued; name another --work-dir'
            )
        different = next(_differences(known, settings), None)
        if different is not None:
            name, *values = different
            texts = ['none' if value is None else str(value) for value in values]
            short = max(map(len, texts)) <= _SHOWN
            shown = f' ({texts[0]}, now {texts[1]})' if short else ''
            raise UserError(
                f'{self.path} holds a search with another {name}{shown}; name another '
                '--work-dir, or repeat its command to continue it'
            )
        return True

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keeps a second search out while this one runs.

        Raises:
            UserError: When there is one already, or the folder cannot be written to.
        """
        with ExitStack() as stack:
            with clear_disk_errors(self.path):
                self.path.mkdir(parents=True, exist_ok=True)
                remedy = 'wait for its end, or name another --work-dir'
                stack.enter_context(only_process(self.path, remedy))
            yield

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """Gives a temporary file that takes a name once it is written.

        Raises:
            UserError: When it cannot be written.
        """
        path = self.path / name
        with clear_disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole_or_absent(path) as partial:
                yield partial

    def write_json(self, name: str, data: Any) -> None:
        """Writes a record; numbers that are not finite become null."""
        text = json.dumps(to_json(data), indent=1, allow_nan=False)
        with self.writing(name) as partial:
            partial.write_text(text + '\n', encoding='utf-8')

    def read_json(self, name: str) -> Any:
        """Reads a record; None where there is none.

        Raises:
            UserError: When it is damaged.
        """
        try:
            return read_json(self.path / name)
        except FileNotFoundError:
            return None
        except UserError as error:
            raise self.damaged(name, error) from None

    def append_row(self, name: str, row: Mapping[str, Any]) -> None:
        """Adds a line to a file of rows."""
        path = self.path / name
        line = json.dumps(to_json(row), allow_nan=False) + '\n'
        with clear_disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open('a', encoding='utf-8') as file:
                file.write(line)

    def read_rows(self, name: str) -> list[dict[str, Any]]:
        """Reads a file of rows; a last line that was cut off is removed from it.

        Raises:
            UserError: When another line is damaged.
        """
        path = self.path / name
        try:
            text = path.read_text(encoding='utf-8')
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as error:
            raise self.damaged(name, error) from None
        whole = text[: text.rfind('\n') + 1]
        if whole != text:
            with self.writing(name) as partial:
                partial.write_text(whole, encoding='utf-8')
        try:
            rows = list(map(json.loads, whole.splitlines()))
        except (ValueError, RecursionError) as error:
            raise self.damaged(name, error) from None
        if not all(isinstance(row, dict) for row in rows):
            raise self.damaged(name, 'a line is no object')
        return rows

    def write_tensors(self, name: str, data: Mapping[str, Any]) -> None:
        """Writes a dictionary of tensors, numbers and texts."""
        # torch's own writer does not say what is wrong with a disk.
        buffer = io.BytesIO()
        torch.save(dict(data), buffer)
        with self.writing(name) as partial:
            partial.write_bytes(buffer.getbuffer())

    def read_tensors(self, name: str) -> dict[str, Any] | None:
        """Reads it; None where there is none.

        Raises:
            UserError: When it is damaged.
        """
        path = self.path / name
        if not path.exists():
            return None
        try:
            data = torch.load(path, map_location='cpu', weights_only=True)
        except Exception as error:  # A strange file makes the unpickler raise anything.
            raise self.damaged(name, error) from None
        if not isinstance(data, dict):
            raise self.damaged(name, 'it holds no dictionary')
        return data

    def write_weights(self, name: str, state: Mapping[str, Tensor]) -> None:
        """Writes a checkpoint."""
        with clear_disk_errors(self.path / name):
            write_checkpoint(self.path / name, state)

    def read_weights(self, name: str) -> dict[str, Tensor]:
        """Reads a checkpoint of :meth:`write_weights`.

        Raises:
            UserError: When it is damaged or missing.
        """
        path = self.path / name
        if not path.exists():
            raise self.damaged(name, 'it is missing')
        try:
            return read_checkpoint(path).state
        except UserError as error:
            raise self.damaged(name, error) from None

    def write_spec(self, name: str, spec: NetSpec) -> None:
        """Writes the table of a network."""
        with self.writing(name) as partial:
            save_spec(spec, partial)

    def read_spec(self, name: str) -> NetSpec:
        """Reads the table of a network.

        Raises:
            UserError: When it is missing or damaged.
        """
        try:
            return load_spec(self.path / name)
        except UserError as error:
            raise self.damaged(name, error) from None

    def damaged(self, name: str, reason: object) -> UserError:
        """What to raise for a file that does not hold what a search has written.

        Args:
            name: Of the file.
            reason: What is wrong with it.
        """
        path, (first, *rest) = self.path / name, Path(name).parts
        said = (str(reason).splitlines() or [type(reason).__name__])[0]
        # A reader of its own names the file itself.
        said = said.removeprefix(f'{path}: ').removeprefix(f'{path} ')
        if name == SETTINGS:
            remedy = 'name another --work-dir'
        elif rest:
            later = ' and the folders of later steps'
            remedy = f'delete {self.path / first}{later * first.startswith("step")}'
        else:
            remedy = f'delete {path}'
        again = ' and run the same command again' * (name != SETTINGS)
        return UserError(f'{path} is damaged ({said}); {remedy}{again}')


@contextmanager
def clear_disk_errors(path: Path) -> Iterator[None]:
    """Says in one line what kept a file from being written.

    Raises:
        UserError: Then.
    """
    try:
        yield
    except OSError as error:
        raise UserError(
            f'{path} cannot be written ({error.strerror or error}); make room or name '
            'another --work-dir, and run the same command again: what was saved stays'
        ) from None


def _differences(old: Any, new: Any, name: str = '') -> Iterator[tuple[str, Any, Any]]:
    """Names of settings that differ, as ``config.optim_wrapper.optimizer.lr``."""
    if isinstance(old, list) and isinstance(new, list):
        old, new = dict(enumerate(old)), dict(enumerate(new))
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*new, *old]):
            inner = f'{name}.{key}' if name else str(key)
            yield from _differences(old.get(key), new.get(key), inner)
    elif old != new:
        yield name, old, new


def to_json(data: Any) -> Any:
    """What JSON makes of data: of NaN and infinities null, of classes their names."""
    if is_dataclass(data) and not isinstance(data, type):
        data = asdict(data)
    if isinstance(data, Mapping):
        return {str(key): to_json(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [to_json(value) for value in data]
    if isinstance(data, float):
        return float(data) if math.isfinite(data) else None
    if data is None or isinstance(data, bool | int | str):
        return data
    if hasattr(data, '__qualname__'):
        return f'{data.__module__}.{data.__qualname__}'
    return str(data)


def identify(config: Config, table: LatencyTable | None = None) -> dict[str, Any]:
    """What decides trainings and prices, as :meth:`Folder.claim` takes it.

    Args:
        config: With the options of the command line.
        table: The prices of layers, where there are some.
    """
    scope = config.get('default_scope', 'mmdet')
    packages = (mmnv3, torch, mmengine, importlib.import_module(scope))
    identity = dict(
        config=config.to_dict(),
        training_pictures=dataset_length(config),
        versions={package.__name__: package.__version__ for package in packages},
    )
    if table:
        identity['table'] = dict(
            **asdict(table.execution),
            machine=table.machine,
            day=table.day,
        )
    return identity
