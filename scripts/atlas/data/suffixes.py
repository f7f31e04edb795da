"""What files of a data set may be called: types that hold data and run no code."""

DATA_SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".arrow", ".txt", ".jsonl.gz", ".json.gz", ".csv.gz")
