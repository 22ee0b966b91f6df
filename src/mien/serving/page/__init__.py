"""The web page beside the service, built with Gradio."""
