"""Temperatures that are learned: one for each id (iSogCLR), or one for each pair (AMCL)."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from crowdcount.checks import check_number
from crowdcount.errors import InputError
from crowdcount.losses.contrastive.scores import anchor_mean, log_sum_exp, row_means, unit
from crowdcount.losses.precision import widen


class IndividualTemperature(nn.Module):
    """A temperature for each id, and the contrast that learns it (iSogCLR); its state is in the state dict.

    With e_ij = exp(s_ij / tau_i), an id keeps the moving average u_i of the mean of e_ij over negatives and loses
    mean_j (e_ij / u_i) s_ij - s_ip, the factor without gradient. Its temperature follows the gradient of
    tau (log u + rho) - ..., with momentum. Qiu et al., "Not All Semantics are Created Equal: Contrastive
    Self-supervised Learning with Automatic Temperature Individualization", arXiv 2305.11965. Averages are kept as
    logarithms, which needs no running maxima. Several positives of an anchor (their mean) are our extension.

    Several processes would each learn their own state: train in one.

    Args:
        number: how many ids there are, from 0.
        temperature: at the start.
        lowest: of the temperatures.
        highest: of the temperatures.
        rho: the larger, the lower the temperatures: 0.3 for one modality, 6 for images and texts.
        decay: part of a new mean in the moving average (gamma of the paper).
        momentum: part of the last gradient of the temperature in its moving average (beta).
        rate: step of the temperature (eta).
        clip: bound of the gradient of the temperature; null for none.
        relative: take the scores of negatives less that of the positive, as for images and texts.

    Raises:
        InputError: a number outside its range, or a lowest temperature above the highest.
    """

    temperature: Tensor
    log_average: Tensor
    slope: Tensor

    def __init__(
        self,
        number: int,
        *,
        temperature: float = 0.1,
        lowest: float = 0.05,
        highest: float = 0.7,
        rho: float = 0.3,
        decay: float = 0.8,
        momentum: float = 0.9,
        rate: float = 0.01,
        clip: float | None = 3.0,
        relative: bool = False,
    ) -> None:
        super().__init__()
        for key, value in (("number", number), ("lowest", lowest), ("rate", rate)):
            check_number(f"IndividualTemperature.{key}", value, 0, above=True)
        check_number("IndividualTemperature.decay", decay, 0, 1, above=True)
        check_number("IndividualTemperature.momentum", momentum, 0, 1)
        if not lowest <= temperature <= highest:
            raise InputError(
                f"IndividualTemperature.temperature: {temperature:g} is not between lowest, {lowest:g}, and highest, "
                f"{highest:g}"
            )
        self.bounds, self.rho, self.decay, self.momentum = (lowest, highest), rho, decay, momentum
        self.rate, self.clip, self.relative = rate, clip, relative
        self.register_buffer("temperature", torch.full((number,), float(temperature)))
        self.register_buffer("log_average", torch.full((number,), -torch.inf))
        self.register_buffer("slope", torch.zeros(number))

    def forward(self, cosine: Tensor, pos: Tensor, neg: Tensor, ids: Tensor, *, first: bool | None = None) -> Tensor:
        """Return the loss, the mean over anchors with a positive and a negative, and update the state in training.

        Args:
            cosine: (A, R) cosine similarities, without temperature.
            pos: (A, R) bool, the positives of each anchor.
            neg: (A, R) bool, the negatives of each anchor.
            ids: (A,) int64, the id of each anchor; anchors of one id (views) share its state, which becomes their mean.
            first: whether the averages start anew (true in the papers' first epoch); by default the average of an id
                starts at its first visit.
        """
        cosine = widen(cosine)
        own = row_means(cosine, pos)
        scores = cosine - own[:, None] if self.relative else cosine
        valid, number = pos.any(dim=1) & neg.any(dim=1), neg.sum(dim=1).clamp(min=1)
        with torch.no_grad():
            tau = self.temperature.to(cosine.dtype)[ids]
            exponents = scores / tau[:, None]
            mean = log_sum_exp(exponents, neg) - number.to(exponents.dtype).log()
            average = self._averaged(mean, ids, first)
            factor = (exponents - average[:, None]).masked_fill(~neg, -torch.inf).exp() / number[:, None]
            slope = average + self.rho - (factor * exponents.masked_fill(~neg, 0)).sum(dim=1)
            if self.training:
                self._learn(average, slope, ids, valid)
        pushed = (factor * scores.masked_fill(~neg, 0)).sum(dim=1)
        return anchor_mean(pushed if self.relative else pushed - own, valid)

    def _averaged(self, mean: Tensor, ids: Tensor, first: bool | None) -> Tensor:
        """Return the logarithm of each anchor's moving average with its new mean, (A,)."""
        old = self.log_average.to(mean.dtype)[ids]
        decay = mean.new_tensor(self.decay)
        kept = torch.logaddexp(old + (1 - decay).log(), mean + decay.log())
        if first is None:
            return torch.where(old.isinf(), mean, kept)
        return mean if first else kept

    def _learn(self, average: Tensor, slope: Tensor, ids: Tensor, valid: Tensor) -> None:
        """Take over averages and slopes, the mean over the anchors of an id, and step the temperatures."""
        seen, place = ids[valid].unique(return_inverse=True)  # type: ignore[no-untyped-call]
        number = torch.zeros(len(seen), dtype=slope.dtype, device=slope.device).index_add(
            0, place, torch.ones_like(slope[valid])
        )

        def mean(values: Tensor) -> Tensor:
            return torch.zeros_like(number).index_add(0, place, values) / number

        peak = average[valid].max() if len(seen) else 0
        self.log_average[seen] = (mean((average[valid] - peak).exp()).log() + peak).to(self.log_average.dtype)
        slope = mean(slope[valid])
        if self.clip is not None:
            slope = slope.clamp(-self.clip, self.clip)
        moving = (1 - self.momentum) * self.slope[seen] + self.momentum * slope.to(self.slope.dtype)
        self.slope[seen] = moving
        self.temperature[seen] = (self.temperature[seen] - self.rate * moving).clamp(*self.bounds)


class PairTemperature(nn.Module):
    """A temperature for each pair, from both of its vectors by a small network (AMCL); one for each head.

    Wang et al., "Adaptive Multi-Head Contrastive Learning", arXiv 2310.05615, sum the contrast of several heads, each
    with its own temperatures, and `temperature_penalty`. As described: the released code cannot be constructed.

    Args:
        width: d, of the embeddings.
        hidden: width of the network's layer.
        lowest: of the temperatures.
        highest: of the temperatures.
    """

    def __init__(self, width: int, *, hidden: int = 128, lowest: float = 1e-5, highest: float = 2.0) -> None:
        super().__init__()
        self.bounds = lowest, highest
        self.first, self.second = nn.Linear(2 * width, hidden), nn.Linear(hidden, 1)

    def forward(self, z_anchor: Tensor, z_ref: Tensor) -> Tensor:
        """Return the (A, R) temperatures of all pairs of (A, d) anchors and (R, d) references."""
        shape = len(z_anchor), len(z_ref), z_ref.shape[1]
        pairs = torch.cat([unit(z_anchor)[:, None].expand(shape), unit(z_ref).expand(shape)], dim=2)
        lowest, highest = self.bounds
        raised: Tensor = self.second(functional.relu(self.first(pairs)))[..., 0]
        return lowest + (highest - lowest) * raised.sigmoid()


def temperature_penalty(temperature: Tensor, width: int) -> Tensor:
    """Return AMCL's mean of (width / 2) log(tau) + 1 / tau over pairs, a scalar; its weight there is 0.1."""
    return (width / 2 * temperature.log() + 1 / temperature).mean()


class IdSlots(nn.Module):
    """Places 0, 1, ... for ids of any value, in the order of their first visit; in the state dict.

    Args:
        number: how many ids there may be.
    """

    keys: Tensor
    used: Tensor

    def __init__(self, number: int) -> None:
        super().__init__()
        check_number("IdSlots.number", number, 1)
        self.register_buffer("keys", torch.zeros(number, dtype=torch.int64))
        self.register_buffer("used", torch.zeros((), dtype=torch.int64))

    def forward(self, ids: Tensor) -> Tensor:
        """Return the place of each of the (A,) int64 ids, and give new ones the next.

        Raises:
            InputError: there are more ids than places.
        """
        taken = int(self.used)
        new: Tensor = ids.unique()  # type: ignore[no-untyped-call]
        new = new[~torch.isin(new, self.keys[:taken])]
        if taken + len(new) > len(self.keys):
            raise InputError(f"contrastive: more than {len(self.keys)} ids, for which isogclr keeps temperatures")
        self.keys[taken : taken + len(new)] = new
        self.used += len(new)
        order = self.keys[: taken + len(new)].argsort()
        return order[torch.searchsorted(self.keys[: taken + len(new)][order], ids)]
