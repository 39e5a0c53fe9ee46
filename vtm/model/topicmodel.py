"""One trained topic model: theta of embeddings, topics as words, saved and loaded without pickles."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vtm.config import ModelConfig, generator
from vtm.errors import DataError, MissingError
from vtm.files import load_arrays, package_versions, save_arrays
from vtm.model.network import TopicNetwork, infer_posterior, one_thread, state_shapes

FORMAT = 3
# A document unlike all training documents can get a log-variance beyond what exp holds. From here on softmax gives
# all probability to one topic anyway, so that a larger one changes nothing.
MAX_LOG_VAR = 40.0


@dataclass(frozen=True)
class TopicModel:
    """A topic network of one seed with the vocabulary of its topics: what `train_pair` gives, and `load`.

    Parameters
    ----------
    network : a TopicNetwork with one replica, in evaluation mode.
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

    network: TopicNetwork
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
        posterior = infer_posterior(self.network, x)
        return posterior.mu[0], posterior.log_var[0]

    def theta(self, x: np.ndarray, *, n_samples: int | None = None, block: int = 1024) -> np.ndarray:
        """Topic distributions of embeddings (n, D): (n, K) float32, rows sum to 1.

        theta is the mean of softmax(mu + sigma * eps) over draws of eps. The draws are the same for all rows, so
        that a row's theta does not depend on which other rows are asked for, nor on their order; and they differ
        between a model of texts and one of images, so that row i of one does not come to resemble row i of the
        other by sharing its noise.

        Parameters
        ----------
        n_samples : how many draws; by default as the model's config says.
        block : rows computed at once, for each thread; changes nothing but the memory that is needed.

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
        draws = generator(self.seed, f"theta of {self.reads}")
        noise = torch.randn(n_samples, self.n_topics, generator=draws)  # (S, K)
        theta = np.empty_like(mu)

        def fill(start: int) -> None:
            rows = slice(start, start + block)
            center = torch.from_numpy(mu[rows])
            sigma = torch.exp(0.5 * torch.from_numpy(log_var[rows]).clamp(max=MAX_LOG_VAR))
            total = torch.zeros_like(center)
            for eps in noise:
                total += torch.softmax(center + sigma * eps, dim=1)
            theta[rows] = (total / n_samples).numpy()

        with one_thread() as threads, ThreadPoolExecutor(threads) as pool:
            list(pool.map(fill, range(0, len(mu), block)))
        return theta

    @torch.no_grad()
    def topic_word(self) -> np.ndarray:
        """beta as each topic's distribution over words, (K, V) float32, rows sum to 1.

        Examples
        --------
        >>> from vtm import TopicModel
        >>> from vtm.model.network import TopicNetwork
        >>> network = TopicNetwork(n_inputs=16, n_topics=4, n_words=3).eval()  # not trained
        >>> model = TopicModel(network, ("boat", "harbour", "sea"), seed=0, reads="image")
        >>> model.topic_word().shape, model.topic_word().sum(axis=1).round(3).tolist()
        ((4, 3), [1.0, 1.0, 1.0, 1.0])
        """
        return self.network.topic_word_distribution()[0].cpu().numpy()

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
    def load(cls, path: Path | str, *, device: str = "cpu") -> TopicModel:
        """Read what `save` wrote; theta of the loaded model is that of the saved one.

        Parameters
        ----------
        path
            As for `save`, without a suffix.
        device
            As torch names it: "cpu", "cuda", "cuda:1".

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
            model = model_of_arrays(arrays, about)
        except (LookupError, TypeError, ValueError, ArithmeticError, RuntimeError) as error:
            said = " ".join(str(error).split())
            raise DataError(f"{file}: does not hold what a model's does ({said}); train anew") from None
        model.network.to(device)
        return model


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
    return {name: value.detach().cpu().numpy() for name, value in model.network.state_dict().items()}, about


def model_of_arrays(arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> TopicModel:
    """The model that `model_arrays` took apart, on the CPU and in evaluation mode.

    Sizes that are not those of the stored arrays are refused before memory is taken for as many numbers: of every
    array, and of all its axes, since an array with an axis of length 0 needs no bytes for the others.

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
    network = TopicNetwork(**sizes, config=config)
    network.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    return TopicModel(network.eval(), tuple(words), about["seed"], about["reads"], about["history"])
