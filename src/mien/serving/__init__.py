"""The service: REST under ``/v1``, and the page beside it. Needs the extra ``serve``, never torch."""
