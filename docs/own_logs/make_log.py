"""Make the log of docs/own_logs.md: visits to a cookbook, and its recipes. Run it in this folder."""

import json
import math
import random
from datetime import datetime, timedelta
from pathlib import Path

VISITS, VISITORS, RECIPES, LISTED, SHOWN = 1200, 80, 150, 12, 6
COURSES = ("soup", "main", "salad", "dessert")
TAGS = ("vegan", "quick", "spicy", "baked", "cheap", "festive")


def main() -> None:
    """Writes visits.csv and recipes.jsonl, always the same."""
    draw = random.Random(7)
    recipes = [
        {
            "id": 1000 + number,
            "course": draw.choice(COURSES),
            "minutes": draw.choice((10, 15, 20, 30, 45, 60, 90)),
            "tags": draw.sample(TAGS, draw.randrange(0, 4)),
            "published": (datetime(2025, 1, 1) + timedelta(days=draw.randrange(360))).strftime("%Y-%m-%d"),
        }
        for number in range(RECIPES)
    ]
    Path("recipes.jsonl").write_text("".join(json.dumps(recipe) + "\n" for recipe in recipes))
    likes = [{tag: draw.gauss(0, 1.2) for tag in TAGS} for _ in range(VISITORS)]
    course = dict(zip(COURSES, (-0.8, 0.6, -0.3, 0.5), strict=True))
    lines, opened = ["visit;visitor;opened;device;recipe;shown;slot;cooked"], datetime(2026, 1, 5, 7)
    for visit in range(VISITS):
        opened += timedelta(seconds=draw.randrange(60, 1500))
        visitor, device = draw.randrange(VISITORS), draw.choice(("phone", "tablet", "web"))
        candidates = draw.sample(recipes, LISTED)
        for place, recipe in enumerate(candidates):
            slot = place + 1 if place < SHOWN else 0
            score = (
                course[recipe["course"]] - 0.02 * recipe["minutes"] + sum(likes[visitor][tag] for tag in recipe["tags"])
            )
            chance = 1 / (1 + math.exp(0.6 + 0.15 * slot - score)) if slot else 0.0
            cooked = int(draw.random() < chance)
            when = (opened + timedelta(seconds=place)).strftime("%d.%m.%Y %H:%M:%S")
            lines.append(f"{visit};v{visitor:03d};{when};{device};{recipe['id']};{int(slot > 0)};{slot or ''};{cooked}")
    Path("visits.csv").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
