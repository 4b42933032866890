"""CSV and Parquet in; ids, preparation, splits; the shares artifact."""
