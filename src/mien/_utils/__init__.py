"""Small things with no subject of their own: files that appear whole, and what ran where."""
