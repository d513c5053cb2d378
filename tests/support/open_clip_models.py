"""Tiny models under open_clip's names, and a tokenizer and text model as the hub holds them."""

import json

import open_clip

PLAIN_TEXT = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
"""Text tower with OpenAI's tokenizer."""

HUGGING_FACE_TEXT = {"hf_pooler_type": "mean_pooler", "hf_proj_type": "mlp", "context_length": 16}
"""Text tower from transformers; the folder of `write_tokenizer` is its name and its tokenizer's."""

_WORDS = ["<s>", "<pad>", "</s>", "<unk>", "There", "is", "are", "no", "one", "two", "people", "person", "."]


def add_models(folder, configs):
    """Make configurations known to open_clip under the names that are their keys."""
    for name, config in configs.items():
        (folder / f"{name}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder)


def write_tokenizer(folder):
    """Write a word tokenizer, and the configuration of a tiny XLM-RoBERTa, into a folder."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, XLMRobertaConfig

    words = Tokenizer(models.WordLevel({word: index for index, word in enumerate(_WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=words, **special).save_pretrained(folder)
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    XLMRobertaConfig(vocab_size=len(_WORDS), max_position_embeddings=40, **shape).save_pretrained(folder)
