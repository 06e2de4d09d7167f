"""How good the AI services' models are, on data that packages carry: ``make quality`` writes ``docs/reference/quality.md``."""
