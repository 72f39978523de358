"""Embedding files that other programs write: PyTorch checkpoints and safetensors, as plain arrays."""

import json
import pickle
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.errors import ConfigError, RawDataError

# Names that exports give to the array of ids.
ID_NAMES = ("item_ids", "product_ids")
_EXPECTED = "expected embeddings (n, d) and product_ids (n)"
TORCH_ENDINGS, SAFETENSORS_ENDING = (".pt", ".pth"), ".safetensors"


def require_reader(path: Path) -> None:
    """Raise ConfigError when the package that reads this kind of file is not installed; imports nothing."""
    ending = path.suffix.lower()
    if ending in TORCH_ENDINGS and find_spec("torch") is None:
        raise ConfigError(
            f"{path}: reading .pt files needs torch: pip install 'train-cf[torch]', or store the embeddings as "
            ".npz or .safetensors"
        )
    if ending == SAFETENSORS_ENDING and find_spec("safetensors") is None:
        raise ConfigError(
            f"{path}: reading .safetensors files needs the package safetensors: pip install 'train-cf[embed]', "
            "or store the embeddings as .npz"
        )


def read_torch_file(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of a PyTorch file that holds {embeddings: tensor, product_ids: list or tensor, ...}.

    Loaded with ``weights_only=True``: the file can name no class and call nothing. Raises ConfigError without
    the extra torch, RawDataError when the file is damaged or holds something else.
    """
    require_reader(path)
    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (
        pickle.UnpicklingError,
        RuntimeError,
        EOFError,
        ValueError,
        KeyError,
        OSError,
        TypeError,
    ) as error:
        cause = next(iter(str(error).splitlines()), type(error).__name__)
        raise RawDataError(f"{path} cannot be read with weights_only: {cause}; {_EXPECTED}") from error
    if not isinstance(content, Mapping):
        raise RawDataError(f"{path} holds a {type(content).__name__}; {_EXPECTED} in a dictionary")
    return {
        str(name): value.detach().float().numpy()  # a trained layer's weights require gradients
        if isinstance(value, torch.Tensor) and value.is_floating_point()
        else _array(value)
        for name, value in content.items()
    }


def read_safetensors_file(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of a safetensors file: the tensor embeddings, and the ids.

    Ids are a tensor of integers named item_ids or product_ids, or, because the format has no strings, a JSON
    list of that name in the file's metadata; name and version are metadata, too. Raises ConfigError without
    the package safetensors, RawDataError when the file is damaged.
    """
    require_reader(path)
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
            metadata = file.metadata() or {}
    except (SafetensorError, OSError, TypeError, ValueError, KeyError) as error:
        raise RawDataError(f"{path} cannot be read: {error}; {_EXPECTED}") from error
    for name in ("name", "version"):
        if name in metadata:
            arrays[name] = np.array(metadata[name])
    for name in ID_NAMES:
        if name in metadata:
            arrays[name] = np.array(_json_list(path, name, metadata[name]), dtype=np.str_)
    return arrays


def _json_list(path: Path, name: str, text: str) -> list[str]:
    try:
        ids = json.loads(text)
    except json.JSONDecodeError as error:
        raise RawDataError(f"{path}: metadata {name} is no JSON: {error}") from error
    if not isinstance(ids, list):
        raise RawDataError(f"{path}: metadata {name} is no JSON list")
    return [str(one) for one in ids]


def _array(value: Any) -> NDArray[Any]:
    """Return a list, text, number or tensor as an array without objects; ids keep their digits."""
    if hasattr(value, "numpy"):
        return np.asarray(value.numpy())
    if isinstance(value, list | tuple):
        return np.array([str(one) for one in value], dtype=np.str_)
    return np.array(str(value))
