"""Build an evaluation set of a domain, judge models on it, and measure how good it is.

Rating and statistics (``battles``, ``rating``, ``bootstrap``, ``control``, ``categories``,
``quality``) work on arrays and know neither judges nor files.
"""
