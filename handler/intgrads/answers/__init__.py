"""What a caller gets back: typed figures and arrays, and their encodings."""
