"""Figures of "Mutual Learning for Finetuning Click-Through Rate Prediction Models", arXiv 2406.12087."""

from typing import Literal

Data = Literal["avazu", "criteo"]

TABLE_1: dict[Data, dict[str, dict[str, tuple[float, ...]]]] = {
    "avazu": {
        "fibinet": {
            "independent": (0.79743, 0.79720, 0.79691, 0.79648),
            "scratch": (0.79701, 0.79695, 0.79698, 0.79706),
            "mutual": (0.79837, 0.79834, 0.79842, 0.79831),
        },
        "dcn": {
            "independent": (0.79425, 0.79394, 0.79383, 0.79390),
            "scratch": (0.79385, 0.79392, 0.79407, 0.79398),
            "mutual": (0.79562, 0.79565, 0.79578, 0.79560),
        },
        "pnn": {
            "independent": (0.79595, 0.79586, 0.79577, 0.79622),
            "scratch": (0.79587, 0.79591, 0.79583, 0.79586),
            "mutual": (0.79704, 0.79706, 0.79689, 0.79704),
        },
        "deepfm": {
            "independent": (0.79607, 0.79623, 0.79600, 0.79584),
            "scratch": (0.79598, 0.79593, 0.79601, 0.79597),
            "mutual": (0.79700, 0.79672, 0.79680, 0.79670),
        },
    },
    "criteo": {
        "fibinet": {
            "independent": (0.81311, 0.81310, 0.81321, 0.81308),
            "scratch": (0.81307, 0.81314, 0.81309, 0.81306),
            "mutual": (0.81425, 0.81420, 0.81426, 0.81425),
        },
        "dcn": {
            "independent": (0.81251, 0.81249, 0.81248, 0.81243),
            "scratch": (0.81243, 0.81242, 0.81245, 0.81239),
            "mutual": (0.81330, 0.81329, 0.81327, 0.81328),
        },
        "pnn": {
            "independent": (0.81242, 0.81235, 0.81231, 0.81220),
            "scratch": (0.81228, 0.81237, 0.81234, 0.81230),
            "mutual": (0.81343, 0.81336, 0.81337, 0.81330),
        },
        "deepfm": {
            "independent": (0.81206, 0.81208, 0.81206, 0.81208),
            "scratch": (0.81199, 0.81203, 0.81207, 0.81201),
            "mutual": (0.81295, 0.81295, 0.81301, 0.81296),
        },
    },
}
"""AUC of four runs of each way."""

TABLE_2: dict[Data, dict[str, tuple[float, float, float]]] = {
    "avazu": {
        "fibinet": (0.79743, 0.79837, 0.79800),
        "dcn": (0.79425, 0.79562, 0.79622),
        "pnn": (0.79622, 0.79704, 0.79715),
        "deepfm": (0.79623, 0.79672, 0.79677),
    },
    "criteo": {
        "fibinet": (0.81321, 0.81426, 0.81415),
        "dcn": (0.81251, 0.81330, 0.81336),
        "pnn": (0.81242, 0.81343, 0.81355),
        "deepfm": (0.81208, 0.81295, 0.81320),
    },
}
"""AUC of one run: pretrained; mutual with runs of its own model; with one of each model."""

SIZES: dict[Data, tuple[str, dict[int, tuple[float, ...]]]] = {
    "avazu": (
        "fibinet",
        {
            5: (0.79838, 0.79835, 0.79839, 0.79833, 0.79831),
            4: (0.79837, 0.79834, 0.79842, 0.79835),
            3: (0.79829, 0.79837, 0.79833),
            2: (0.79813, 0.79811),
        },
    ),
    "criteo": (
        "dcn",
        {
            5: (0.81290, 0.81330, 0.81328, 0.81327, 0.81328),
            4: (0.81330, 0.81329, 0.81327, 0.81328),
            3: (0.81325, 0.81326, 0.81321),
            2: (0.81323, 0.81325),
        },
    ),
}
"""Tables 3 and 4: the model, and AUC by the number of peers, of which the worst was dropped each time."""
