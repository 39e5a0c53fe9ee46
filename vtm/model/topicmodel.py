"""One trained topic model: theta of embeddings, topics as words, saved and loaded without pickles."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vtm.config import ModelConfig, stream
from vtm.errors import DataError, MissingError
from vtm.files import load_arrays, package_versions, save_arrays

if TYPE_CHECKING:
    from vtm.model.network import TopicNetwork

FORMAT = 3
# Rows that are looked at together where x may be a file that is larger than the memory.
BLOCK = 16384
# Squares of larger numbers, and their sums over documents, are beyond what float32 holds.
LARGEST = 1e12
# A document unlike all training documents can get a log-variance beyond what exp holds. From here on softmax gives
# all probability to one topic anyway, so that a larger one changes nothing.
MAX_LOG_VAR = 40.0
# Batch norm's, torch's default.
VARIANCE_FLOOR = 1e-5


@dataclass(frozen=True)
class StoredNetwork:
    """The arrays of a `vtm.model.network.TopicNetwork` with one replica, by their names in its state dict."""

    n_inputs: int
    n_topics: int
    config: ModelConfig
    arrays: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class TopicModel:
    """A topic network of one seed with the vocabulary of its topics: what `train_pair` gives, and `load`.

    It is read by NumPy, in evaluation mode: without PyTorch, and to some 1e-7 as PyTorch would.

    Parameters
    ----------
    network : a TopicNetwork with one replica, or, in a model that was loaded, its arrays.
    vocabulary : (V,) the words, in the order of beta's columns.
    seed : the seed it was trained with.
    reads : what its embeddings are of: "text", "image" or "text+image".
    history : training curves, a list of floats each (`vtm.model.training.History`).

    Attributes
    ----------
    n_topics : K.

    Examples
    --------
    >>> from vtm import ModelConfig, from_parameters, prepare, train_pair
    >>> data = prepare(from_parameters({"corpus": "scenes:n=60", "encoder": "pixels"}))
    >>> pairs, config = data.pairs("train"), ModelConfig(epochs=5)
    >>> model = train_pair("text-teacher", pairs, data.vocabulary.words, n_topics=4, config=config)[0].image
    >>> model.reads, model.n_topics, model.theta(data.pairs("test").image).shape
    ('image', 4, (14, 4))
    """

    network: TopicNetwork | StoredNetwork
    vocabulary: tuple[str, ...]
    seed: int
    reads: str
    history: dict[str, list[float]] = field(default_factory=dict)

    @property
    def n_topics(self) -> int:
        return self.network.n_topics

    @property
    def n_inputs(self) -> int:
        """Dimensions of an embedding."""
        return self.network.n_inputs

    def posterior(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """mu and log_var of embeddings (n, D), each (n, K) float32, in evaluation mode.

        Raises
        ------
        DataError
            Another number of dimensions than the model was trained on, or NaN.

        Examples
        --------
        >>> import numpy as np
        >>> from vtm import TopicModel
        >>> from vtm.model.network import TopicNetwork
        >>> network = TopicNetwork(n_inputs=16, n_topics=4, n_words=3).eval()  # not trained
        >>> model = TopicModel(network, ("boat", "harbour", "sea"), seed=0, reads="image")
        >>> mu, log_var = model.posterior(np.zeros((2, 16)))
        >>> mu.shape, log_var.shape
        ((2, 4), (2, 4))
        """
        check_embeddings(x, self.n_inputs)
        config = self.network.config
        # A product rounds by where a row stands in it: in float64, nothing of that is left in the float32 that comes out.
        arrays = {name: array.astype(np.float64) for name, array in _arrays_of(self.network).items()}
        layers = [
            (arrays[f"weights.{layer}"][0], arrays[f"biases.{layer}"][0])
            for layer in range(len(config.hidden))
        ]
        mu, log_var = np.empty((2, len(x), self.n_topics), dtype=np.float32)
        for start, rows in blocks(x):
            hidden = (np.asarray(rows, dtype=np.float32) - arrays["shift"]) / arrays[
                "scale"
            ]  # (n, D) float64
            for weight, bias in layers:
                hidden = hidden @ weight + bias
                hidden = _softplus(hidden) if config.activation == "softplus" else np.maximum(hidden, 0)
            head = _batch_norm(hidden @ arrays["head_weight"][0] + arrays["head_bias"][0], arrays, "head")
            rows = slice(start, start + len(head))  # type: ignore[assignment]
            mu[rows], log_var[rows] = head[:, : self.n_topics], head[:, self.n_topics :]
        return mu, log_var

    def theta(self, x: np.ndarray, *, n_samples: int | None = None, block: int = 1024) -> np.ndarray:
        """Topic distributions of embeddings (n, D): (n, K) float32, rows sum to 1.

        theta is the mean of softmax(mu + sigma * eps) over draws of eps. The draws are the same for all rows, so
        that a row's theta does not depend on which other rows are asked for, nor on their order; and they differ
        between a model of texts and one of images, so that row i of one does not come to resemble row i of the
        other by sharing its noise.

        Parameters
        ----------
        n_samples : how many draws; by default as the model's config says.
        block : rows computed at once; changes nothing but the memory that is needed.

        Raises
        ------
        DataError
            As `posterior`.

        Examples
        --------
        >>> import numpy as np
        >>> from vtm import TopicModel
        >>> from vtm.model.network import TopicNetwork
        >>> network = TopicNetwork(n_inputs=16, n_topics=4, n_words=3).eval()  # not trained
        >>> model = TopicModel(network, ("boat", "harbour", "sea"), seed=0, reads="image")
        >>> theta = model.theta(np.zeros((2, 16)))
        >>> theta.shape, theta.sum(axis=1).round(3).tolist()
        ((2, 4), [1.0, 1.0])
        """
        mu, log_var = self.posterior(x)
        n_samples = self.network.config.n_samples if n_samples is None else n_samples
        noise = standard_normal(
            stream(self.seed, f"theta of {self.reads}"), n_samples, self.n_topics
        )  # (S, K)
        theta = np.empty_like(mu)
        for start in range(0, len(mu), block):
            rows = slice(start, start + block)
            center, sigma = mu[rows], np.exp(0.5 * np.minimum(log_var[rows], MAX_LOG_VAR))
            total = np.zeros_like(center)
            for eps in noise:
                total += _softmax(center + sigma * eps)
            theta[rows] = total / np.float32(n_samples)
        return theta

    def topic_word(self) -> np.ndarray:
        """beta as each topic's distribution over words, (K, V) float32, rows sum to 1.

        Of LDA's beta after batch norm, as its decoder mixes it (`TopicNetwork.topic_word_distribution`).

        Examples
        --------
        >>> from vtm import TopicModel
        >>> from vtm.model.network import TopicNetwork
        >>> network = TopicNetwork(n_inputs=16, n_topics=4, n_words=3).eval()  # not trained
        >>> model = TopicModel(network, ("boat", "harbour", "sea"), seed=0, reads="image")
        >>> model.topic_word().shape, model.topic_word().sum(axis=1).round(3).tolist()
        ((4, 3), [1.0, 1.0, 1.0, 1.0])
        """
        arrays = _arrays_of(self.network)
        beta = arrays["beta"][0]
        return _softmax(_batch_norm(beta, arrays, "beta") if self.network.config.decoder == "LDA" else beta)

    def topics(self, top: int = 10) -> list[list[str]]:
        """The `top` most probable words of each topic, best first; ties by the word.

        Examples
        --------
        >>> from vtm import TopicModel
        >>> from vtm.model.network import TopicNetwork
        >>> network = TopicNetwork(n_inputs=16, n_topics=4, n_words=3).eval()  # not trained
        >>> model = TopicModel(network, ("boat", "harbour", "sea"), seed=0, reads="image")
        >>> [len(words) for words in model.topics(top=2)]
        [2, 2, 2, 2]
        """
        beta = self.topic_word()
        # The vocabulary is sorted, so a stable sort breaks ties by the word.
        order = np.argsort(-beta, axis=1, kind="stable")[:, :top]
        return [[self.vocabulary[column] for column in row] for row in order]

    def save(self, path: Path | str, **notes: Any) -> None:
        """Write `<path>.safetensors`: the weights, with everything else and package versions in its metadata.

        Parameters
        ----------
        notes
            Kept under "notes" in the description: what JSON can hold.

        Raises
        ------
        StorageError
            The place cannot be written.

        Examples
        --------
        >>> import os, tempfile
        >>> from vtm import TopicModel
        >>> from vtm.model.network import TopicNetwork
        >>> network = TopicNetwork(n_inputs=16, n_topics=4, n_words=3).eval()  # not trained
        >>> model = TopicModel(network, ("boat", "harbour", "sea"), seed=0, reads="image")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.save(f"{folder}/image", owner="me")
        ...     os.listdir(folder)
        ['image.safetensors']
        """
        arrays, about = model_arrays(self)
        about |= {"format": FORMAT, "versions": package_versions(), "notes": notes}
        save_arrays(model_file(path), arrays, about)

    @classmethod
    def load(cls, path: Path | str) -> TopicModel:
        """Read what `save` wrote; theta of the loaded model is that of the saved one.

        Parameters
        ----------
        path
            As for `save`, without a suffix.

        Raises
        ------
        MissingError, DataError
            The file is missing, of another format, or not what was saved; or the weights have other sizes than the
            description states.

        Examples
        --------
        >>> import tempfile
        >>> import numpy as np
        >>> from vtm import TopicModel
        >>> from vtm.model.network import TopicNetwork
        >>> network = TopicNetwork(n_inputs=16, n_topics=4, n_words=3).eval()  # not trained
        >>> model = TopicModel(network, ("boat", "harbour", "sea"), seed=0, reads="image")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.save(f"{folder}/image")
        ...     loaded = TopicModel.load(f"{folder}/image")
        >>> x = np.ones((2, 16))
        >>> loaded.vocabulary, bool((loaded.theta(x) == model.theta(x)).all())
        (('boat', 'harbour', 'sea'), True)
        """
        file = model_file(path)
        if not file.is_file():
            raise MissingError(f"{file}: no such file; a model is a .safetensors file that vtm wrote")
        try:
            arrays, about = load_arrays(file)
        except DataError:
            beside = file.with_suffix(".json")
            if beside.is_file():
                raise DataError(
                    f"{file}: of an earlier version of vtm, whose models are this file and {beside.name}; train anew"
                ) from None
            raise
        if about.get("format") != FORMAT:
            found = about.get("format")
            raise DataError(f"{file}: format {found!r}, this version of vtm reads {FORMAT}; train anew")
        try:
            return model_of_arrays(arrays, about)
        except (LookupError, TypeError, ValueError, ArithmeticError, RuntimeError) as error:
            said = " ".join(str(error).split())
            raise DataError(f"{file}: does not hold what a model's does ({said}); train anew") from None


def model_file(path: Path | str) -> Path:
    """The file of the model that `TopicModel.save` and `load` know as `path`, whose name may have dots."""
    base = Path(path)
    return base.parent / f"{base.name}.safetensors"


def model_arrays(model: TopicModel) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The weights by name, and all else as JSON can hold it: what `model_of_arrays` takes."""
    about = {
        "n_inputs": model.network.n_inputs,
        "n_topics": model.network.n_topics,
        "config": dataclasses.asdict(model.network.config),
        "vocabulary": list(model.vocabulary),
        "seed": model.seed,
        "reads": model.reads,
        "history": model.history,
    }
    return _arrays_of(model.network), about


def model_of_arrays(arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> TopicModel:
    """The model that `model_arrays` took apart.

    Sizes that are not those of the stored arrays are refused, of every array and of all its axes.

    Raises
    ------
    LookupError, TypeError, ValueError, ArithmeticError, RuntimeError
        Arrays of other sizes than are stated, or something is missing or of another kind.
    """
    config, words = ModelConfig(**about["config"]), about["vocabulary"]
    if not (isinstance(words, list) and all(isinstance(word, str) for word in words)):
        raise TypeError("a vocabulary is a list of words")
    if not (
        type(about["seed"]) is int
        and about["reads"] in ("text", "image", "text+image")
        and isinstance(about["history"], dict)
    ):
        raise TypeError("a model has a seed, what it reads, and its training curves")
    sizes = {"n_inputs": about["n_inputs"], "n_topics": about["n_topics"], "n_words": len(words)}
    stated = (*sizes.values(), *config.hidden)
    if not all(type(size) is int and size > 0 for size in stated):
        raise TypeError(f"inputs, topics, words and layers are stated as {stated}")
    for name, shape in state_shapes(**sizes, config=config).items():
        found = arrays[name].shape
        if found != shape:
            raise ValueError(f"{name} is stated as of shape {shape}, and stored as of {found}")
    network = StoredNetwork(
        about["n_inputs"],
        about["n_topics"],
        config,
        {name: np.asarray(array, dtype=np.float32) for name, array in arrays.items()},
    )
    return TopicModel(network, tuple(words), about["seed"], about["reads"], about["history"])


def state_shapes(
    *, n_inputs: int, n_topics: int, n_words: int, config: ModelConfig, n_replicas: int = 1
) -> dict[str, tuple[int, ...]]:
    """The shapes of a `TopicNetwork`'s state dict, without building one."""
    widths = (n_inputs, *config.hidden)
    shapes: dict[str, tuple[int, ...]] = {}
    for layer, (n_in, n_out) in enumerate(zip(widths[:-1], widths[1:], strict=True)):
        shapes |= {f"weights.{layer}": (n_replicas, n_in, n_out), f"biases.{layer}": (n_replicas, 1, n_out)}
    shapes |= {
        "head_weight": (n_replicas, widths[-1], 2 * n_topics),
        "head_bias": (n_replicas, 1, 2 * n_topics),
        "beta": (n_replicas, n_topics, n_words),
    }
    shapes |= {f"prior_{name}": (n_replicas, 1, n_topics) for name in ("mu", "log_var")}
    shapes |= {f"head_{name}": (n_replicas, 2 * n_topics) for name in ("mean", "var")}
    shapes |= {f"beta_{name}": (n_replicas, n_words) for name in ("mean", "var")}
    return shapes | {"shift": (n_inputs,), "scale": (n_inputs,)}


def _arrays_of(network: TopicNetwork | StoredNetwork) -> dict[str, np.ndarray]:
    if isinstance(network, StoredNetwork):
        return dict(network.arrays)
    return {name: value.detach().cpu().numpy() for name, value in network.state_dict().items()}


def _batch_norm(x: np.ndarray, arrays: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """x (n, F) by the mean and variance that training left, `TopicNetwork`'s batch norm in evaluation mode."""
    return (x - arrays[f"{name}_mean"][0]) / np.sqrt(arrays[f"{name}_var"][0] + VARIANCE_FLOOR)


def _softmax(x: np.ndarray) -> np.ndarray:
    """Over the last axis."""
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def _softplus(x: np.ndarray) -> np.ndarray:
    """log(1 + exp(x)), by the formula of `vtm.model.network.softplus`."""
    with np.errstate(over="ignore"):
        sigmoid = 1 / (1 + np.exp(x))
    return np.maximum(x, -np.log(np.maximum(sigmoid, np.finfo(x.dtype).tiny)))


def standard_normal(seed: int, n: int, width: int) -> np.ndarray:
    """What `torch.randn` draws on the CPU from a generator of this seed, to some 1e-6, without PyTorch: (n, width).

    PyTorch 2 seeds the Mersenne twister by the lower 32 bits. From 16 numbers on it takes uniform ones of 24 bits and
    turns them by Box and Muller (1958), the first eight of each 16 with the other eight; where the number is no multiple
    of 16, the last 16 are drawn anew. Fewer are made of uniform ones of 53 bits, two at a time.
    """
    twister, size = np.random.RandomState(seed & 0xFFFFFFFF), n * width
    if size < 16:
        words = twister.bytes(16 * (size // 2 + 1))
        high, low = np.frombuffer(words, dtype="<u4").astype(np.uint64).reshape(-1, 2).T
        uniform = (((high << np.uint64(32)) | low) & np.uint64(2**53 - 1)).astype(np.float64) / 2**53
        turn, length = uniform.reshape(-1, 2).T
        radius, angle = np.sqrt(-2 * np.log1p(-length)), 2 * np.pi * turn
        drawn = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).ravel()[:size]
        return drawn.astype(np.float32).reshape(n, width)
    words = np.frombuffer(twister.bytes(4 * (size + 16)), dtype="<u4")  # type: ignore[assignment]
    uniform = (words & np.uint32(2**24 - 1)).astype(np.float32) / np.float32(2**24)  # type: ignore[operator]
    drawn = np.empty(size, dtype=np.float32)
    whole = size // 16 * 16
    drawn[:whole] = _box_muller(uniform[:whole])
    if whole < size:
        drawn[-16:] = _box_muller(uniform[size:])
    return drawn.reshape(n, width)


def _box_muller(uniform: np.ndarray) -> np.ndarray:
    turns = uniform.reshape(-1, 2, 8)
    radius, angle = np.sqrt(-2 * np.log(1 - turns[:, 0])), np.float32(2 * np.pi) * turns[:, 1]
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).ravel()


def check_embeddings(x: np.ndarray, n_inputs: int | None = None) -> None:
    """Raise DataError unless x is (n, D), finite and within `LARGEST` (and D is `n_inputs`, where given)."""
    if x.ndim != 2:
        raise DataError(f"embeddings have shape {x.shape}; they must be (documents, dimensions)")
    if n_inputs is not None and x.shape[1] != n_inputs:
        raise DataError(
            f"embeddings have {x.shape[1]} dimensions, the model was trained on {n_inputs}: use the same encoder"
        )
    bad = [np.flatnonzero(~np.isfinite(rows).all(axis=1)) + start for start, rows in blocks(x)]
    if n_bad := sum(map(len, bad)):
        raise DataError(
            f"{n_bad} of {len(x)} embeddings hold NaN or infinity, the first in row {np.concatenate(bad)[0]}; "
            "leave these rows out or compute them anew"
        )
    if any(float(np.abs(rows).max(initial=0)) > LARGEST for _, rows in blocks(x)):
        raise DataError(f"embeddings hold numbers beyond {LARGEST:g}; scale them, or compute them anew")


def blocks(x: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """The rows of x some at a time, with the first one's number: of a mapped file no more need be in memory."""
    for start in range(0, len(x), BLOCK):
        yield start, x[start : start + BLOCK]
