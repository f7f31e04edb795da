"""config.yaml, its schema and the tables of options in docs/, written from the options' one home: `make config`."""
