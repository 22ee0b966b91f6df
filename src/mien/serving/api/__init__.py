"""The REST service under ``/v1``."""
