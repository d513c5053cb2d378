"""The smallest detector that trains, and its generated scenes, as parts of a configuration."""

REC = {
    "class_path": "crowdcount.training.ReferringModule",
    "init_args": {
        "network": {
            "class_path": "crowdcount.models.rec.network.ReferringDetector",
            "init_args": {
                "detector": "tiny",
                "pretrained": False,
                "freeze": False,
                "words": ["person", "in", "red", "green", "blue", "yellow"],
            },
        },
        "loss": {"contrast_weight": 0.005, "image_text_weight": 0.06},
        "optimizer": {"class_path": "AdamW", "init_args": {"lr": 0.001}},
        "inference": {"cls_threshold": 0.3, "word_threshold": 0.3},  # an untrained detector finds something, too
    },
}
SCENES = {
    "source": {"class_path": "crowdcount.data.ReferringScenes", "init_args": {"train": 6, "val": 2, "test": 3}},
    "augment": None,
}
