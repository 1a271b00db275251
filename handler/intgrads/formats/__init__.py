"""The formats of answers: what they are called, and how each is encoded."""
