"""The paper's experiment: prepared data, trained models, stored results."""
