"""The baseline "aligned (contrastive)": one linear map for texts and one for pictures into a shared space.

Encoders such as CLIP put texts and pictures into one space, where their cosine ranks pictures for a text. The
offline encoders are trained apart, so their baseline has to be learned: the two maps are trained with CLIP's loss
(Radford et al. 2021; open_clip's ClipLoss) on the training pairs alone. It is not CLIP.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from vtm.config import generator
from vtm.metrics.ranking import target_ranks
from vtm.metrics.retrieval import retrieval_figures
from vtm.model.network import one_thread
from vtm.model.topicmodel import check_embeddings
from vtm.model.training import Pairs, as_tensor, resolve_device, training_threads


@dataclass(frozen=True)
class AlignConfig:
    """Settings of the contrastive baseline, chosen on validation parts of openclipart (results/study/grid.json)."""

    dim: int = 384
    epochs: int = 100
    batch_size: int = 512
    lr: float = 1e-3
    weight_decay: float = 1.0
    patience: int = 20


class Aligned(nn.Module):
    """The two maps. `curve` holds the validation MRR@100 of each epoch; the maps are those of the best epoch."""

    def __init__(self, n_text: int, n_image: int, dim: int, seed: int) -> None:
        super().__init__()
        draws = generator(seed, "aligned (contrastive): initial weights")

        def matrix(n_in: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(n_in, dim, generator=draws) / n_in**0.5)

        self.curve: list[float] = []
        self.text, self.image = matrix(n_text), matrix(n_image)
        self.log_scale = nn.Parameter(torch.tensor(1 / 0.07).log())  # CLIP's initial temperature
        for name, width in (("text", n_text), ("image", n_image)):
            self.register_buffer(f"{name}_shift", torch.zeros(width))
            self.register_buffer(f"{name}_scale", torch.ones(width))

    def forward(self, reads: str, x: torch.Tensor) -> torch.Tensor:
        centred = (x - getattr(self, f"{reads}_shift")) / getattr(self, f"{reads}_scale")
        return nn.functional.normalize(centred @ getattr(self, reads), dim=1)

    @torch.no_grad()
    def embed(self, reads: str, x: np.ndarray) -> np.ndarray:
        """Embeddings of "text" or "image" (n, D) in the shared space: (n, dim), of length 1."""
        check_embeddings(x, getattr(self, reads).shape[0])
        with one_thread():
            return self(reads, as_tensor(x).to(self.log_scale.device)).cpu().numpy()


def clip_loss(image: torch.Tensor, text: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy of finding each picture's text among those of the batch, and each text's picture.

    Equal to open_clip's ClipLoss, whose import takes seconds.

    Parameters
    ----------
    image, text : (B, D), of length 1; row i of one belongs to row i of the other.
    scale : what the cosines are multiplied by, one over the temperature.
    """
    own = torch.arange(len(image), device=image.device)
    to_texts, to_images = scale * image @ text.T, scale * text @ image.T
    return (nn.functional.cross_entropy(to_texts, own) + nn.functional.cross_entropy(to_images, own)) / 2


def fit_aligned(
    train: Pairs,
    validation: Pairs,
    *,
    seed: int = 0,
    config: AlignConfig = AlignConfig(),
    device: str = "auto",
) -> Aligned:
    """Train the two maps; the epoch with the best validation MRR@100 is kept.

    Raises
    ------
    DataError
        Embeddings that are not finite.
    """
    where = resolve_device(device)
    tensors = {}
    maps = Aligned(train.text.shape[1], train.image.shape[1], config.dim, seed)
    for reads in ("text", "image"):
        x = train.embeddings(reads)
        check_embeddings(x)
        getattr(maps, f"{reads}_shift").copy_(torch.from_numpy(x.mean(axis=0)))
        getattr(maps, f"{reads}_scale").copy_(torch.from_numpy(x.std(axis=0) + 1e-6))
        tensors[reads] = as_tensor(x).to(where)
    maps.to(where)
    optimizer = torch.optim.AdamW(
        [
            {"params": [maps.text, maps.image], "weight_decay": config.weight_decay},
            {"params": [maps.log_scale], "weight_decay": 0.0},
        ],
        lr=config.lr,
    )
    draws = generator(seed, "aligned (contrastive): batches", device=where)
    best, best_state = -1.0, copy.deepcopy(maps.state_dict())
    ids = [str(row) for row in range(len(validation))]
    batch = min(config.batch_size, len(train))
    with training_threads(batch * config.dim * (train.text.shape[1] + train.image.shape[1])):
        for epoch in range(config.epochs):
            order = torch.randperm(len(train), generator=draws, device=where)
            for start in range(0, len(train) - batch + 1, batch):
                rows = order[start : start + batch]
                optimizer.zero_grad(set_to_none=True)
                image, text = (maps(reads, tensors[reads][rows]) for reads in ("image", "text"))
                clip_loss(image, text, maps.log_scale.exp()).backward()
                optimizer.step()
                with torch.no_grad():
                    maps.log_scale.clamp_(max=float(np.log(100)))  # as CLIP
            ranks = target_ranks(  # type: ignore[call-arg]
                *(maps.embed(r, validation.embeddings(r)) for r in ("text", "image")),  # type: ignore[arg-type]
                ids,  # type: ignore[arg-type]
                ids,
            )
            score = retrieval_figures(ranks.ranks)["mrr_100"]
            maps.curve.append(score)
            if score > best:
                best, best_state = score, copy.deepcopy(maps.state_dict())
            elif epoch - int(np.argmax(maps.curve)) >= config.patience:
                break
    maps.load_state_dict(best_state)
    return maps.eval()
