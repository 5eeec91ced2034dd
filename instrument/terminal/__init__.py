"""Traces as text, to be looked at in a terminal."""

from .drawing import render

__all__ = ["render"]
