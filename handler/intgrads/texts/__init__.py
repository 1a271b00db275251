"""Texts as a kind of input: their requests, what is made of them, and how they are shown."""
