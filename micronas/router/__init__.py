"""Composition of Experts (arXiv 2412.01868): a prompt's category, then the category's expert.

What is known of the paper is its two steps, its budget on parameters and its ``general`` category
for prompts that fit nowhere; everything else here is our own choice (docs/design.md).
"""
