"""The weight store: cards that say what a model is, and files whose every byte is checked before use."""
