"""The only door to TensorFlow, and to everything that drags it in. Imports happen on first call, never before.

`TF_USE_LEGACY_KERAS` must stand before the first import of TensorFlow: TensorFlow Recommenders 0.7 is written for
Keras 2.
"""

from __future__ import annotations

import functools
import os
import warnings
from typing import Any


@functools.cache
def tensorflow() -> Any:
    """The module `tensorflow`, quiet, with Keras 2 under `tf.keras`. First call: 2 to 12 s."""
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import tensorflow as tf
    tf.get_logger().setLevel("ERROR")
    return tf


@functools.cache
def recommenders() -> Any:
    """The module `tensorflow_recommenders`."""
    tensorflow()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import tensorflow_recommenders as tfrs
    return tfrs


@functools.cache
def datasets() -> Any:
    """The module `tensorflow_datasets`."""
    tensorflow()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import tensorflow_datasets as tfds
    return tfds


@functools.cache
def scann() -> Any:
    """The module `scann.scann_ops.py.scann_ops_pybind`: ScaNN over NumPy arrays."""
    tensorflow()  # scann imports it where it is installed, so let that happen quietly
    from scann.scann_ops.py import scann_ops_pybind

    return scann_ops_pybind
