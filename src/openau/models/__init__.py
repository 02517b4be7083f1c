"""AU models: pure PyTorch, no training code."""
