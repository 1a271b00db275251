"""Data sets: every row of a table or file of a folder attributed, by workers on one machine or a cluster of Ray's."""
