"""How models and ways are called on the page."""

NAMES = {
    "deepfm": "DeepFM",
    "dcn": "DCN",
    "pnn": "PNN",
    "fibinet": "FiBiNET",
    "independent": "independent",
    "scratch": "mutual from scratch",
    "mutual": "pretrained, mutual",
    "finetune_only": "finetuned alone",
    "ensemble": "mean of K predictions",
    "mixed": "different models",
    "logit_mse": "mutual, squared differences of logits",
    "symmetric_kl": "mutual, symmetric KL",
    "no_stop_gradient": "mutual, gradient through the peers",
    "two_epochs": "mutual, two epochs",
    "finetune_only_two_epochs": "finetuned alone, two epochs",
    "mutual_slow": "mutual, slow",
    "finetune_only_slow": "finetuned alone, slow",
    "independent_other_length": "independent, other length",
    "mutual_other_length": "mutual, other length",
    "finetune_only_other_length": "finetuned alone, other length",
}


def name(key: str) -> str:
    """Of a model or a way."""
    return NAMES.get(key, key.replace("_", " "))
