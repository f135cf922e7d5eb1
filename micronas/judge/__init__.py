"""Build an evaluation set of a domain, judge models on it, and measure its quality.

Rating and statistics (``battles``, ``rating``, ``bootstrap``, ``control``, ``categories``,
``quality``) work on arrays, without judges or files.
"""
