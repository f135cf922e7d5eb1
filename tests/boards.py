"""Shipped boards, each read once: parsing a file takes a twentieth of a second."""

from functools import cache

from micronas.hardware.board import Board

shipped = cache(Board.load)
