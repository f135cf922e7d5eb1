"""Composition of Experts (arXiv 2412.01868): a prompt's category, then the category's expert.

Only the paper's two steps, its budget on parameters and its ``general`` category for other prompts
are known; everything else is our own choice (docs/design.md).
"""
