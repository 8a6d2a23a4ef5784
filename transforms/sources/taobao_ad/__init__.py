"""TaobaoAd."""
