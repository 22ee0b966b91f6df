"""Data sets larger than memory, as a folder of parquet files."""
