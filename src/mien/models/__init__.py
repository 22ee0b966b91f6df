"""The meeting point: networks, preprocessing and the bundle that carries them. Only the networks need torch."""
