"""Pages for people: one HTML file with its styles, its script and its data, and nothing from outside."""
