"""MediaEval 2021 NewsImages, the paper's task: its files, pictures and run files."""
