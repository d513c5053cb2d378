"""Detector of referring expression counting: Grounding DINO with centroids instead of boxes.

Sources: Liu et al., "Grounding DINO", ECCV 2024; Dai et al., "Referring Expression Counting", CVPR 2024 (GroundingREC,
commit e8f5a54); Triaridis et al., "Improving Contrastive Learning for Referring Expression Counting", arXiv 2505.22850
(C-REX, which has no released code).
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from crowdcount.checks import check_choice, check_number
from crowdcount.errors import InputError
from crowdcount.models.base import CrowdNetwork
from crowdcount.models.rec.convert import from_authors
from crowdcount.models.rec.outputs import Phrases, PointDetections
from crowdcount.models.rec.tokenize import tokenize, vocabulary
from crowdcount.weights.cache import ensure_downloaded
from crowdcount.weights.checkpoint import read_checkpoint
from crowdcount.weights.index import find_entry

Detector = Literal["swin_t", "swin_b", "mm_swin_t", "tiny"]

_SWIN: dict[str, dict[str, Any]] = {
    "swin_t": {"embed_dim": 96, "depths": [2, 2, 6, 2], "num_heads": [3, 6, 12, 24], "window_size": 7},
    "swin_b": {"embed_dim": 128, "depths": [2, 2, 18, 2], "num_heads": [4, 8, 16, 32], "window_size": 12},
    "tiny": {"embed_dim": 16, "depths": [1, 1, 1, 1], "num_heads": [1, 2, 2, 4], "window_size": 4},
}
_IMAGE_SIZE = {"swin_t": 224, "swin_b": 384, "tiny": 64}  # only the windows depend on it
_TINY = {
    "num_queries": 90,  # a dense grid, since an untrained detector does not learn which image tokens to choose
    "encoder_layers": 1,
    "decoder_layers": 2,
    "d_model": 32,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "max_text_len": 16,
    "fusion_droppath": 0.0,
}
_MM = {"decoder_bbox_embed_share": False, "decoder_cls_embed_share": False}  # each decoder layer has its own heads
_TINY_TEXT = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 32,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}


class ReferringDetector(CrowdNetwork):
    """Text-conditioned detector of the points that an expression names, with centres instead of boxes.

    Maps images (U, 3, H, W) and E expressions, each belonging to one image, to `PointDetections` with E rows. Each
    image is encoded once, however many expressions it has.

    Args:
        detector: Grounding DINO with Swin-T or Swin-B, MM-Grounding-DINO with Swin-T, or a tiny one with half a million
            parameters for small experiments on a CPU.
        pretrained: initial weights of a training: true for the published weights of the detector; a hub id, a folder or
            an original `.pth` file; false for random ones. They are loaded when a training starts.
        query_selection: image tokens that become queries: those with the highest score of any token ("max", Grounding
            DINO), or of [CLS] ("cls", GroundingREC).
        freeze: freeze the image backbone and the text encoder, in evaluation mode.
        projection: width of a two-layer projection head before the contrastive loss; null applies the loss to the
            queries directly. It is not known whether the paper uses a head.
        words: vocabulary of `tiny`; the other detectors have their own.

    Raises:
        InputError: an argument is not one of its choices, or `words` are missing or given to a detector with its own.
    """

    def __init__(
        self,
        detector: Detector = "swin_t",
        pretrained: bool | str = True,
        query_selection: Literal["max", "cls"] = "max",
        freeze: bool = True,
        projection: int | None = None,
        words: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        check_choice("detector", detector, get_args(Detector))
        check_choice("query_selection", query_selection, ("max", "cls"))
        if projection is not None:
            check_number("projection", projection, 1, hint="or null for none")
        if bool(words) != (detector == "tiny"):
            raise InputError(f"words: {list(words)}; tiny needs the list of words, the other detectors have one")
        self.name, self.pretrained, self.words, self.freeze = detector, pretrained, words, freeze
        self.detector = _build(detector, vocabulary(words))
        width = self.detector.config.d_model
        self.projection = _projection(width, projection) if projection else nn.Identity()
        self._running: tuple[Tensor, Tensor] | None = None  # `inside` and `image_index` of the running call
        backbone = self.detector.model.backbone
        backbone.register_forward_pre_hook(self._one_mask_per_image)
        backbone.register_forward_hook(self._features_per_expression)
        if query_selection == "cls":
            self.detector.model.encoder_output_class_embed.register_forward_hook(_only_first_column)
        self._freeze_parts()
        self.train()  # a trainer keeps existing modes, so frozen parts must be in evaluation mode from the start

    def forward(self, images: Tensor, inside: Tensor, phrases: Phrases, image_index: Tensor) -> PointDetections:
        """Detect.

        Args:
            images: (U, 3, H, W), normalised, zero where an image is smaller than the batch.
            inside: (U, H, W) bool, true inside the images.
            phrases: E expressions, from `tokenize`.
            image_index: (E,), image index of each expression.

        Raises:
            InputError: the images are too small for the number of queries.
        """
        self._check_size(*images.shape[-2:])
        self._running = inside, image_index
        output = self.detector(
            pixel_values=images,
            pixel_mask=inside[image_index],
            input_ids=phrases.ids,
            attention_mask=phrases.tokens,
        )
        length = phrases.ids.shape[1]
        return PointDetections(
            logits=output.logits[..., :length],
            points=output.pred_boxes[..., :2],
            sizes=output.pred_boxes[..., 2:],
            queries=output.intermediate_hidden_states[:, -1],
            text=output.encoder_last_hidden_state_text,
            phrases=phrases,
            image_index=image_index,
        )

    def tokenize(self, texts: Sequence[str], attributes: Sequence[str]) -> Phrases:
        """Return the tokens of expressions; see `crowdcount.models.rec.tokenize.tokenize`."""
        return tokenize(self.tokenizer, texts, attributes, self.detector.config.max_text_len)

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer of the detector.

        Raises:
            InputError: the tokenizer could not be fetched.
        """
        if self.name == "tiny":
            return _transformers().BertTokenizer(vocab=vocabulary(self.words))
        if isinstance(self.pretrained, str) and Path(self.pretrained).is_dir():
            try:
                return _transformers().AutoTokenizer.from_pretrained(self.pretrained)
            except Exception as error:  # the library and the file system raise various exceptions
                raise _not_fetched("the vocabulary of", self.pretrained, error) from error
        words = ensure_downloaded(find_entry("rec/vocabulary.bert")).read_text(encoding="utf-8").splitlines()
        return _transformers().BertTokenizer(vocab={word: index for index, word in enumerate(words)})

    @property
    def queries(self) -> int:
        """Number of queries, the maximum number of points per expression in one pass."""
        count: int = self.detector.config.num_queries
        return count

    def train(self, mode: bool = True) -> "ReferringDetector":
        """Switch the trained parts; frozen parts stay in evaluation mode."""
        super().train(mode)
        for part in self._frozen():
            part.eval()
        return self

    def load_pretrained(self) -> None:
        """Load the published weights that the detector was configured with.

        Raises:
            InputError: the weights could not be fetched or do not fit.
        """
        if self.pretrained is False:
            return
        source = str(self._published() if self.pretrained is True else self.pretrained)
        if Path(source).suffix in (".pth", ".pt", ".safetensors"):
            try:
                self.load_published(read_checkpoint(Path(source)))
            except InputError as error:
                raise InputError(f"pretrained: {error}") from error
            return
        try:
            model, info = type(self.detector).from_pretrained(
                source, config=self.detector.config, output_loading_info=True, ignore_mismatched_sizes=True
            )
        except Exception as error:  # the hub client, the file system and the file format raise various exceptions
            raise _not_fetched("the weights", source, error) from error
        self._take(model, info, source)

    def _published(self) -> Path:
        """Return the file with the detector's published weights, from the index."""
        if self.name == "tiny":
            raise InputError("pretrained: there are no published weights of the detector tiny; set it to false")
        try:
            return ensure_downloaded(find_entry(f"rec/{self.name}.hub"))
        except InputError as error:
            raise InputError(f"{error}\nTo start from random weights: pretrained: false") from error

    def load_published(self, state_dict: Mapping[str, Any]) -> None:
        """Load a checkpoint of Grounding DINO or GroundingREC, with its original names or those of the hub.

        Raises:
            InputError: the checkpoint is of another model.
        """
        named_by_hub = any(key.startswith("model.backbone.conv_encoder.") for key in state_dict)
        hub = dict(state_dict) if named_by_hub else from_authors(state_dict)
        model, info = type(self.detector).from_pretrained(
            None,
            config=self.detector.config,
            state_dict=hub,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # `_take` names them
        )
        self._take(model, info, "the published checkpoint")

    def _take(self, model: nn.Module, info: Mapping[str, Any], source: str) -> None:
        wrong = {name: sorted(map(str, info[name])) for name in ("missing_keys", "unexpected_keys", "mismatched_keys")}
        listed = "; ".join(f"{name.split('_')[0]}: {', '.join(keys[:3])}" for name, keys in wrong.items() if keys)
        if listed:
            raise InputError(f"{source} does not fit the detector {self.name} ({listed}); choose its own")
        self.detector.load_state_dict(model.state_dict())

    def _frozen(self) -> list[nn.Module]:
        model = self.detector.model
        return [model.backbone, model.text_backbone] if self.freeze else []

    def _freeze_parts(self) -> None:
        model = self.detector.model
        # the encoder outputs are not supervised: unused parameters would stop distributed training
        idle = [model.enc_output, model.enc_output_norm]
        idle += [model.encoder_output_bbox_embed, model.encoder_output_class_embed]
        if not self.detector.config.decoder_bbox_embed_share:  # only the last layer is supervised
            idle += [*self.detector.bbox_embed[:-1], *self.detector.class_embed[:-1]]
        idle += [part for name, part in model.backbone.named_modules() if name.endswith("swin.layernorm")]
        for part in [*self._frozen(), *idle]:
            part.requires_grad_(False)

    def _check_size(self, height: int, width: int) -> None:
        places = sum(-(-height // stride) * -(-width // stride) for stride in (8, 16, 32, 64))
        if places < self.queries or max(height, width) <= 64:  # group normalisation fails on a map of one position
            raise InputError(
                f"an image of {width} x {height} pixels is too small for a detector with {self.queries} queries; "
                "enlarge it (data.short_side)"
            )

    def _one_mask_per_image(self, _module: nn.Module, inputs: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        assert self._running is not None
        return inputs[0], self._running[0]

    def _features_per_expression(self, _module: nn.Module, _inputs: object, output: Any) -> Any:
        assert self._running is not None
        rows = self._running[1]
        features, positions = output
        return [(maps[rows], masks[rows]) for maps, masks in features], [position[rows] for position in positions]


def _build(name: str, words: Mapping[str, int]) -> Any:
    """Return the transformers model with random weights."""
    library = _transformers()
    swin = name.removeprefix("mm_")
    image = library.SwinConfig(image_size=_IMAGE_SIZE[swin], out_indices=[2, 3, 4], **_SWIN[swin])
    text = library.BertConfig(vocab_size=len(words), **_TINY_TEXT) if name == "tiny" else library.BertConfig()
    rest = dict(_TINY) if name == "tiny" else {}
    family = "GroundingDino"
    if name.startswith("mm_"):
        family = "MMGroundingDino"
        rest |= {
            "decoder_bbox_embed_share": False,
            "decoder_cls_embed_share": False,
        }  # separate heads, as published
    config = getattr(library, f"{family}Config")(backbone_config=image, text_config=text, dropout=0.0, **rest)
    return getattr(library, f"{family}ForObjectDetection")(config)


def _transformers() -> Any:
    """Import transformers on first use, since it takes seconds and only this family needs it."""
    return import_module("transformers")


def _projection(width: int, out: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, out))


def _only_first_column(_module: nn.Module, _inputs: object, scores: Tensor) -> Tensor:
    """Keep only the scores of [CLS], so that the maximum of a row is that of [CLS]."""
    return torch.cat([scores[..., :1], torch.full_like(scores[..., 1:], float("-inf"))], dim=-1)


def _not_fetched(what: str, source: str, error: Exception) -> InputError:
    return InputError(
        f"{what} {source} could not be fetched ({type(error).__name__}: {error}).\n"
        "Check the connection, or set pretrained to the folder of a downloaded copy (weights, config.json, tokenizer)"
    )
