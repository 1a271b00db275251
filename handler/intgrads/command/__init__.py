"""The command ``intgrads``: serve, archive, attribute, show, doctor."""
